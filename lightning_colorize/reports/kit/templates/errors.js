// Sorts and filters the images. The view is in the address; thumbnails load when they are in sight.
const data = JSON.parse(document.getElementById("data").textContent);
const form = document.querySelector(".controls");
const list = document.querySelector(".entries");
const more = document.querySelector(".more");
const measures = Object.fromEntries(data.measures.map((measure) => [measure.name, measure]));
const failures = data.measures.filter(({ threshold }) => threshold !== null);
const STEP = 60; // entries that are added at a time
const ZOOM = 0.7; // of thumbnails, to 112 pixels
const count = data.names.length;
const chosen = (name) => form.elements[name]?.value ?? "";
const system = () => Math.max(0, data.systems.indexOf(chosen("of")));
let order = []; // the images that pass the filters, by index

const shows = (failure, of, i) => (failure.values[of][i] ?? -Infinity) > failure.threshold;
const failuresOf = (of, i) => failures.filter((failure) => shows(failure, of, i));
const text = (measure, value) => (value === null ? "-" : value.toFixed(measure.digits));

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// Values of the order: a larger one is worse, or more. Names have none.
function keyOf(sort, of) {
  if (sort === "name") return null;
  if (sort === "apart") return (i) => data.apart[i];
  const { values, sign } = measures[sort];
  return (i) => (values[of][i] === null ? null : (sign || 1) * values[of][i]);
}

function passing() {
  const [failure, category, word] = [chosen("failure"), chosen("category"), chosen("find").trim().toLowerCase()];
  const passes = {
    "": () => true,
    any: (i) => failuresOf(system(), i).length > 0,
    none: (i) => failuresOf(system(), i).length === 0,
  }[failure] ?? ((i) => shows(measures[failure], system(), i));
  const found = [...data.names.keys()].filter(
    (i) =>
      (!category || data.categories[data.category[i]] === category) &&
      data.names[i].toLowerCase().includes(word) && passes(i)
  );
  const key = keyOf(chosen("sort"), system());
  const sign = chosen("order") === "best" ? -1 : 1;
  const byName = (a, b) => (data.names[a] < data.names[b] ? -1 : 1);
  if (!key) return found.sort((a, b) => sign * byName(a, b));
  // Images without a value are last in both orders.
  return found.sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    return x === null || y === null ? (x === null) - (y === null) : sign * (y - x);
  });
}

function version(i, column) {
  const isSystem = column < data.systems.length;
  const [width, height] = data.sizes[i].map((side) => Math.round(side * ZOOM));
  // A file of thumbnails has grey, the systems, and the truth if there is one.
  const place = isSystem || data.last === "truth" ? column + 1 : 0;
  const columns = data.systems.length + (data.last === "truth" ? 2 : 1);
  const thumb = element("span", { className: "thumb" });
  thumb.style.cssText = `width: ${width}px; height: ${height}px; background-size: ${columns * width}px ${height}px; background-position: ${-place * width}px 0`;
  const made = element("span", { className: "version" }, thumb);
  const measure = measures[chosen("sort")] ?? measures.ciede2000;
  const value = isSystem && measure ? text(measure, measure.values[column][i]) : "";
  const who = element("b", {}, isSystem ? data.systems[column] : data.last);
  if (isSystem) who.prepend(element("span", { className: `swatch ${data.styles[column]}` }));
  made.append(element("span", { className: "who" }, who, " ", element("span", { className: "note" }, value)));
  const shown = isSystem && measure ? failuresOf(column, i) : [];
  if (shown.length) made.append(element("span", { className: "failed" }, shown.map(({ label }) => label).join(", ")));
  return made;
}

const inSight = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      const image = isIntersecting ? `url("${data.thumbnails[target.dataset.index]}")` : "";
      for (const thumb of target.querySelectorAll(".thumb")) thumb.style.backgroundImage = image;
    }
  },
  { rootMargin: "300px" }
);

function add() {
  const start = list.children.length;
  for (const i of order.slice(start, start + STEP)) {
    const link = element("a", { className: "sheet entry", tabIndex: list.children.length ? -1 : 0 });
    link.setAttribute("href", data.sheets[i]);
    link.dataset.name = data.names[i];
    const versions = [...data.systems, data.last].map((_, column) => version(i, column));
    link.append(element("span", { className: "name" }, data.names[i]), element("span", { className: "versions" }, ...versions));
    const item = element("li", {}, link);
    item.dataset.index = i;
    list.append(item);
    inSight.observe(item);
  }
  more.hidden = list.children.length >= order.length;
}
more.addEventListener("click", add);
new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && add(), { rootMargin: "800px" }).observe(more);

// A link to the view with some changes.
function address(changes = {}) {
  const state = new URLSearchParams();
  for (const { name, value } of form.elements) if (name && value !== defaults[name]) state.set(name, value);
  for (const [name, value] of Object.entries(changes)) value ? state.set(name, value) : state.delete(name);
  return `#${state}` === "#" ? "#sort=" + chosen("sort") : `#${state}`;
}

function tabulate() {
  const box = document.getElementById("categories");
  if (!box) return;
  const measure = measures[chosen("sort")] ?? measures.ciede2000;
  const of = system();
  const groups = ["", ...data.categories].map((name) => ({ name, images: [] }));
  data.category.forEach((group, i) => [groups[0], groups[group + 1]].forEach(({ images }) => images.push(i)));
  for (const group of groups) {
    const known = group.images.map((i) => measure.values[of][i]).filter((value) => value !== null);
    group.mean = known.length ? known.reduce((a, b) => a + b, 0) / known.length : null;
  }
  const key = ({ mean }) => (mean === null ? -Infinity : (measure.sign || 1) * mean);
  const [all, ...categories] = groups;
  categories.sort((a, b) => key(b) - key(a));
  const row = (group) => {
    const link = (failure, label) => element("a", { href: address({ category: group.name, failure }) }, label);
    const counts = failures.map((failure) => {
      const shown = group.images.filter((i) => shows(failure, of, i)).length;
      const share = element("small", {}, `${Math.round((100 * shown) / group.images.length)} %`);
      return element("td", {}, shown ? link(failure.name, String(shown)) : "0", share);
    });
    const head = element("th", { scope: "row" }, link("", group.name || "all images"));
    return element("tr", {}, head, element("td", {}, String(group.images.length)), element("td", {}, text(measure, group.mean)), ...counts);
  };
  const heads = [data.systems[of], "images", `mean ${measure.label}`, ...failures.map(({ label }) => label)];
  const head = element("tr", {}, ...heads.map((name, i) => element("th", { scope: "col", className: i ? "" : "text" }, name)));
  const rows = categories.length > 1 ? [all, ...categories] : [all];
  box.replaceChildren(element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows.map(row))));
}

function update() {
  const { sort, order: direction } = form.elements;
  const hasGoal = sort.value === "name" ? null : Boolean(measures[sort.value]?.sign);
  const words = hasGoal === null ? ["A to Z", "Z to A"] : hasGoal ? ["worst first", "best first"] : ["highest first", "lowest first"];
  [...direction.options].forEach((option, i) => (option.textContent = words[i]));
  order = passing();
  inSight.disconnect();
  list.replaceChildren();
  add();
  document.querySelector("output").textContent = `${order.length.toLocaleString("en")} of ${count.toLocaleString("en")} images.`;
  tabulate();
}

const defaults = Object.fromEntries([...form.elements].map(({ name, value }) => [name, value]));
function save(changes) {
  history.replaceState(null, "", address(changes));
}
function restore() {
  // A link to a section: the browser has scrolled to it.
  if (location.hash && !location.hash.includes("=")) return save();
  const state = new URLSearchParams(location.hash.slice(1));
  for (const field of form.elements) {
    field.value = state.get(field.name) ?? defaults[field.name];
    if (field.selectedIndex === -1) field.value = defaults[field.name]; // of another comparison
  }
  update();
  const image = data.names.indexOf(state.get("image"));
  if (image >= 0) showSheet(data.sheets[image], data.names[image]);
}
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", () => {
  update();
  save();
});
addEventListener("hashchange", restore);

sheets = () => order.map((i) => [data.sheets[i], data.names[i]]);
dialog.addEventListener("sheet", () => save({ image: data.names[data.sheets.indexOf(sheet)] }));
dialog.addEventListener("close", () => {
  save();
  const at = order.indexOf(data.sheets.indexOf(sheet));
  while (at >= list.children.length && !more.hidden) add();
  if (at >= 0) focusEntry(at);
});

function focusEntry(at) {
  const link = list.children[at].firstChild;
  list.querySelector("[tabindex='0']")?.setAttribute("tabindex", -1);
  link.tabIndex = 0;
  link.focus();
}
list.addEventListener("keydown", (event) => {
  const tops = [...list.children].slice(0, STEP).map((item) => item.offsetTop);
  const columns = tops.filter((top) => top === tops[0]).length;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
  const item = event.target.closest("li");
  if (!step || !item) return;
  event.preventDefault();
  const at = [...list.children].indexOf(item) + step;
  if (at >= list.children.length) add();
  if (list.children[at]) focusEntry(at);
});

if (location.hash.includes("=")) restore();
else update();

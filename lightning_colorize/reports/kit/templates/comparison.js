// Controls of the gallery: search, order, and a dialog with the sheets.
const gallery = document.getElementById("gallery");
const articles = [...gallery.children];
const controls = document.querySelector(".controls");
controls.hidden = false;
controls.addEventListener("submit", (event) => event.preventDefault());
controls.addEventListener("input", () => {
  const { find, category, order } = controls.elements;
  const word = find.value.trim().toLowerCase();
  let shown = 0;
  for (const article of articles) {
    const other = category?.value && article.dataset.category !== category.value;
    article.hidden = Boolean(other) || !article.dataset.name.includes(word);
    shown += !article.hidden;
  }
  controls.querySelector("output").textContent =
    shown === articles.length ? "" : `${shown} of ${articles.length}`;
  const key = {
    name: () => 0,
    apart: (article) => -article.dataset.apart,
  }[order.value] ?? ((article) => -(Number(article.dataset.values.split(" ")[order.value]) || 0));
  gallery.append(...[...articles].sort((a, b) => key(a) - key(b)));
});

const dialog = document.querySelector("dialog");
const sheets = articles.map((article) => article.querySelector("a.sheet").getAttribute("href"));
let current = 0;
function show(number) {
  current = (number + sheets.length) % sheets.length;
  const link = gallery.querySelector(`h3 a[href="${sheets[current]}"]`);
  dialog.querySelector(".caption").textContent = link.textContent;
  const image = dialog.querySelector("img");
  image.src = sheets[current];
  image.alt = `Sheet of ${link.textContent}`;
}
document.addEventListener("click", (event) => {
  const link = event.target.closest("a.sheet");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  show(sheets.indexOf(link.getAttribute("href")));
  dialog.showModal();
});
dialog.addEventListener("click", (event) => {
  const step = event.target.closest("[data-step]");
  if (step) show(current + Number(step.dataset.step));
  else if (event.target === dialog || event.target.closest("[data-close]")) dialog.close();
});
dialog.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step) show(current + step);
});

"use strict";
// Colors the chosen photograph in a worker or on the server, as a person paints colors on it.
const part = name => document.querySelector(`[data-part=${name}]`);
const layer = part("layer");
const settings = JSON.parse(part("settings").textContent);
const LONGEST_SIDE = 32767; // of a canvas in Firefox; other browsers allow more
const SHOWN = 512; // pixels of the short side while colors are painted
const SAMPLES = 4;
const COMPARED = 128; // pixels of the short side of images whose features are compared
const COLORING = "Coloring …";
const BRUSH = 5; // pixels of the network's input

// The photograph: `full`, the smaller `shown`, and the sides of the network's input.
let photo;
// What was painted: {ab, at: [[y, x], ...]}, in LAB units and shares of the sides; the sample's seed; a
// smaller copy of the photograph to color it like.
let work = { strokes: [], seed: 0, reference: null };
let past = []; // earlier ones
let selected = null; // a stroke whose color is chosen
let cross = [0.5, 0.5];
let latest = 0; // results of earlier jobs are dropped
let firstSample = 0;
let sampled = null; // strokes of the thumbnails
let sampling = 0; // a later request for thumbnails replaces an earlier one
let queue = Promise.resolve();
let stage = ""; // what the worker does before the first photograph

const say = text => { part("status").textContent = text; };
const fail = error => say(`The photograph could not be colored: ${error.message}`);
const within = (low, value, high) => Math.min(high, Math.max(low, value));
const compute = settings.server ? onServer : inWorker();

function inWorker() {
  if (location.protocol === "file:") {
    part("drop").hidden = true;
    say("Browsers do not load the model from a file: run python -m http.server in this folder, then open http://localhost:8000");
    return null;
  }
  const worker = new Worker("worker.js", { type: "module" });
  worker.postMessage({ settings });
  worker.addEventListener("message", ({ data }) => {
    if (data.stage === undefined) return;
    const [shown, former] = [part("status").textContent, stage || (latest ? COLORING : "")];
    stage = data.stage;
    if (former ? !shown.endsWith(former) : shown) return; // what the person reads, such as a refusal
    say(shown.slice(0, shown.length - former.length) + (stage || (latest ? COLORING : "")));
  });
  worker.onerror = event => {
    latest = NaN;
    part("file").disabled = true;
    say(`This browser cannot run the model: ${event.message || "open the page from a web server"}`);
  };
  return (asked, show) => new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => {
      if (data.stage !== undefined) return;
      if (data.early) show(data.early);
      else if (data.error) reject(new Error(data.error));
      else resolve(data);
    };
    worker.postMessage({ ...asked, early: Boolean(show) });
  });
}

async function onServer({ image, hints, rows, columns, seeds, at, reference }) {
  const sides = reference && [reference.width, reference.height];
  const head = JSON.stringify({ width: image.width, height: image.height, rows, columns, seeds, at, reference: sides });
  const body = new Blob([head, "\n", image.data, reference?.data ?? "", hints]);
  const reply = await fetch(location.href, { method: "POST", body });
  if (!reply.ok) throw new Error(`the server answered ${reply.status} ${reply.statusText}`);
  const bytes = new Uint8ClampedArray(await reply.arrayBuffer());
  const start = bytes.indexOf(10) + 1; // after a line of JSON
  const size = image.data.length;
  const images = seeds.map((_, i) => bytes.slice(start + i * size, start + (i + 1) * size));
  return { ...JSON.parse(new TextDecoder().decode(bytes.subarray(0, start))), images };
}

// One job after another; null for a job that is no longer needed when its turn comes. A worker may
// `show` an estimate first.
function ask(image, seeds, at = null, needed = () => true, show = null) {
  const { rows, columns } = photo;
  const hinted = () => ({ image, hints: hintsOf(rows, columns), rows, columns, seeds, at, reference: work.reference, compared: photo.compared });
  const result = queue.then(() => (needed() ? compute(hinted(), show) : null));
  queue = result.catch(() => {});
  return result;
}

// a, b and mask at the size of the network's input, one after another: a square for each place.
function hintsOf(rows, columns) {
  const planes = new Int8Array(3 * rows * columns);
  const start = (share, side) => within(0, Math.round(share * side - BRUSH / 2), Math.max(0, side - BRUSH));
  for (const { ab: [a, b], at } of work.strokes) {
    for (const [top, left] of at.map(([y, x]) => [start(y, rows), start(x, columns)])) {
      for (let row = top; row < Math.min(rows, top + BRUSH); row++) {
        for (let column = left; column < Math.min(columns, left + BRUSH); column++) {
          [a, b, 1].forEach((value, i) => { planes[(i * rows + row) * columns + column] = Math.round(value); });
        }
      }
    }
  }
  return planes;
}

function scaled(image, width, height) {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white"; // behind transparency
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

function draw(canvas, data, { width, height }) {
  [canvas.width, canvas.height] = [width, height];
  canvas.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
}

function reduced(image) {
  const [short, long] = [Math.min, Math.max].map(choose => choose(image.width, image.height));
  const scale = Math.min(1, COMPARED / short, (4 * COMPARED) / long); // as in the package
  return scaled(image, ...[image.width, image.height].map(side => Math.max(1, Math.round(side * scale))));
}

async function decoded(file) {
  const image = await createImageBitmap(file).catch(() => null);
  if (!image) say(`${file.name} is not an image that this browser can read: save it as PNG or JPEG.`);
  return image;
}

async function open(file) {
  const job = ++latest;
  part("result").hidden = true;
  const image = await decoded(file);
  if (!image || job !== latest) return;
  const most = Math.sqrt(settings.most / (image.width * image.height));
  const scale = Math.min(1, most, LONGEST_SIDE / Math.max(image.width, image.height));
  const [width, height] = [image.width, image.height].map(side => Math.max(1, Math.floor(side * scale)));
  const size = `${scale < 1 ? "Reduced to " : ""}${width} x ${height} pixels`;
  say(`${scale < 1 ? `${size}. ` : ""}${stage || COLORING}`);
  // Sides of the network's input, as in the package; its halves are rounded to even.
  const short = Math.min(width, height);
  const side = within(1, Math.floor((4 * settings.size * short) / Math.max(width, height)), settings.size);
  const [columns, rows] = [width, height].map(pixels => {
    const exact = (pixels * side) / short;
    return exact % 1 === 0.5 ? 2 * Math.round(exact / 2) : Math.round(exact);
  });
  const times = Math.max(1, Math.floor(SHOWN / side)); // a multiple has the same input
  const full = scaled(image, width, height);
  const isSmaller = (settings.hints || settings.draws) && short > times * side;
  const shown = isSmaller ? scaled(image, times * columns, times * rows) : full;
  const small = scaled(image, columns, rows);
  const compared = reduced(image);
  image.close();
  photo = { name: file.name.replace(/\.[^.]*$/, ""), full, shown, small, compared, rows, columns, size };
  [work, past, selected, firstSample, sampled] = [{ ...work, strokes: [], seed: 0 }, [], null, 0, null];
  part("samples").replaceChildren();
  draw(part("given"), shown.data, shown);
  part("compare").style.setProperty("--ratio", width / height);
  recolor();
}

// Colors the photograph like another one; null for none.
async function refer(file) {
  const image = file && await decoded(file);
  if (file && !image) return;
  say(COLORING);
  // Other strokes, so that the samples are computed again.
  change({ strokes: [...work.strokes], reference: image && reduced(image) });
}

// The demo names its photograph after the #, and the reference after another.
async function fetched(address) {
  const reply = await fetch(address);
  if (!reply.ok) throw new Error("choose it again");
  return new File([await reply.blob()], decodeURIComponent(address.split("/").at(-1)));
}

async function recolor() {
  const [job, start] = [++latest, performance.now()];
  render();
  const show = image => {
    if (job !== latest) return;
    draw(part("colored"), image, photo.shown);
    part("result").hidden = false;
  };
  const reply = await ask(photo.shown, [work.seed], null, () => job === latest, show).catch(fail);
  if (!reply || job !== latest) return;
  show(reply.images[0]);
  if (settings.draws && sampled !== work.strokes) showSamples();
  if (reply.refused) {
    work = { ...work, reference: null };
    render();
  }
  const took = `${photo.size} in ${((performance.now() - start) / 1000).toFixed(2)} s`;
  say(reply.refused ? `Not used: ${reply.refused}` : took);
}

function change(next) {
  past.push(work);
  work = { ...work, ...next };
  recolor();
}

async function showSamples() {
  const [{ small }, { strokes }, job, turn] = [photo, work, latest, ++sampling];
  const needed = () => job === latest && turn === sampling;
  const buttons = [];
  // One by one, so that what a person paints waits for one at most.
  for (let seed = firstSample; buttons.length < SAMPLES; seed++) {
    const reply = await ask(small, [seed], null, needed).catch(fail);
    if (!reply || !needed()) return;
    const button = newButton(`coloring ${seed + 1}`, () => change({ seed }));
    button.append(document.createElement("canvas"));
    draw(button.firstChild, reply.images[0], small);
    button.dataset.seed = seed;
    buttons.push(button);
  }
  part("samples").replaceChildren(...buttons);
  sampled = strokes;
  render();
}

function newButton(label, onclick) {
  const button = Object.assign(document.createElement("button"), { onclick });
  button.setAttribute("aria-label", label);
  return button;
}

function put(element, [y, x]) {
  [element.style.top, element.style.left] = [`${100 * y}%`, `${100 * x}%`];
  return element;
}
const dot = place => put(document.createElement("i"), place);
const css = (L, [a, b]) => `lab(${L} ${a} ${b})`;

// Points, crosshair and buttons as the work is.
function render() {
  part("points").replaceChildren(...work.strokes.map(stroke => {
    const point = dot(stroke.at[0]);
    point.style.background = css(60, stroke.ab);
    return point;
  }));
  part("path").replaceChildren(...(selected && !selected.ab ? selected.at : []).map(dot));
  put(part("cross"), cross);
  part("colors").hidden = !selected;
  part("undo").disabled = !past.length;
  part("samples").ariaBusy = sampled !== work.strokes;
  part("like").hidden = !work.reference;
  if (work.reference) draw(part("alike"), work.reference.data, work.reference);
  for (const button of part("samples").children) {
    button.setAttribute("aria-pressed", Number(button.dataset.seed) === work.seed);
  }
}

// Offers colors for a stroke: probable ones first.
async function select(stroke, focus = false) {
  selected = stroke;
  cross = stroke.at[0];
  const { shown } = photo;
  const [row, column] = [shown.height, shown.width].map((side, i) => Math.min(side - 1, Math.floor(cross[i] * side)));
  const pixel = 4 * (row * shown.width + column);
  const L = within(30, toLab([...shown.data.slice(pixel, pixel + 3)])[0], 85); // others look black or white
  const swatches = colors => colors.map((ab, i) => {
    const button = newButton(`color ${i + 1}`, () => choose(ab));
    button.style.background = css(L, ab);
    return button;
  });
  const hues = [...Array(12).keys()].map(i => [50 * Math.cos((i * Math.PI) / 6), 50 * Math.sin((i * Math.PI) / 6)]);
  part("hues").replaceChildren(...swatches([...hues, [0, 0]]));
  part("probable").replaceChildren();
  render();
  part("cross").scrollIntoView({ block: "nearest" });
  const reply = await ask(shown, [], cross, () => selected === stroke).catch(fail);
  if (!reply || selected !== stroke) return;
  const taken = [];
  for (const [a, b] of reply.candidates.sort((one, other) => other[2] - one[2])) {
    if (taken.length < 6 && taken.every(other => Math.hypot(a - other[0], b - other[1]) > 14)) taken.push([a, b]);
  }
  part("probable").replaceChildren(...swatches(taken));
  if (focus) part("probable").firstChild.focus();
}

// LAB of sRGB under D65, as in the package.
function toLab(rgb) {
  const linear = rgb.map(c => (c / 255 > 0.04045 ? ((c / 255 + 0.055) / 1.055) ** 2.4 : c / 255 / 12.92));
  const toXyz = [[0.433953, 0.376219, 0.189828], [0.212671, 0.71516, 0.072169], [0.017758, 0.109477, 0.872766]];
  const [x, y, z] = toXyz.map(row => row.reduce((sum, weight, i) => sum + weight * linear[i], 0))
    .map(c => (c > 0.008856 ? Math.cbrt(c) : 7.787 * c + 4 / 29));
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

function choose(ab) {
  const others = work.strokes.filter(stroke => stroke !== selected);
  selected = { ...selected, ab };
  if (document.activeElement !== part("other")) layer.focus({ preventScroll: true });
  change({ strokes: [...others, selected] });
}

function undo() {
  if (!past.length) return;
  [work, selected] = [past.pop(), null];
  recolor();
}

async function load(file) {
  try {
    const { strokes, seed } = JSON.parse(await file.text());
    const isPair = pair => pair.length === 2 && pair.every(Number.isFinite);
    const isColor = pair => isPair(pair) && pair.every(value => Math.abs(value) < 128);
    const areStrokes = strokes.every(({ ab, at }) => isColor(ab) && at.length && at.every(isPair));
    if (!areStrokes || !Number.isInteger(seed) || seed < 0 || seed >= 2 ** 31) throw new Error();
    selected = null;
    change({ strokes, seed });
  } catch {
    say(`${file.name} contains no colors that this page saved.`);
  }
}

function download(file, name) {
  const link = document.createElement("a");
  [link.href, link.download] = [URL.createObjectURL(file), name];
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

async function save() {
  const { name, shown, full, size } = photo;
  let canvas = part("colored");
  if (shown !== full) {
    say("Coloring at full size …");
    const reply = await ask(full, [work.seed]);
    canvas = document.createElement("canvas");
    draw(canvas, reply.images[0], full);
    say(size);
  }
  canvas.toBlob(file => download(file, `${name}-color.png`));
}

for (const [name, receive] of [["file", open], ["load", load], ["reference", refer]]) {
  part(name).onchange = event => {
    if (event.target.files[0]) receive(event.target.files[0]);
    event.target.value = ""; // the same file can be chosen again
  };
}
part("save").onclick = () => save().catch(fail);
part("project").onclick = () => download(new Blob([JSON.stringify({ ...work, reference: undefined })]), `${photo.name}-colors.json`);
part("cut").oninput = event => part("compare").style.setProperty("--cut", `${event.target.value}%`);
part("other").onchange = ({ target: { value } }) => {
  choose(toLab([1, 3, 5].map(i => parseInt(value.slice(i, i + 2), 16))).slice(1));
};
part("done").onclick = () => { selected = null; render(); };
part("undo").onclick = undo;
part("without").onclick = () => refer(null);
part("more").onclick = () => { [firstSample, sampled] = [firstSample + SAMPLES, null]; render(); showSamples(); };
for (const kind of ["dragover", "dragleave", "drop"]) {
  part("drop").addEventListener(kind, event => {
    event.preventDefault();
    part("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
  });
}

let painted = null; // places since the pointer went down
function placeOf(event) {
  const { left, top, width, height } = layer.getBoundingClientRect();
  return [within(0, (event.clientY - top) / height, 1), within(0, (event.clientX - left) / width, 1)];
}
if (settings.hints) {
  layer.onpointerdown = event => {
    if (event.button) return;
    layer.setPointerCapture(event.pointerId);
    painted = [placeOf(event)];
    part("path").replaceChildren(dot(painted[0]));
  };
  layer.onpointermove = event => {
    const [place, last] = [placeOf(event), painted?.at(-1)];
    if (!last || Math.hypot((place[0] - last[0]) * photo.rows, (place[1] - last[1]) * photo.columns) < BRUSH - 1) return;
    painted.push(place);
    part("path").append(dot(place));
  };
  layer.onpointerup = () => {
    if (painted) select({ at: painted });
    painted = null;
  };
  layer.onpointercancel = () => { painted = null; };
  layer.onkeydown = event => {
    const step = event.shiftKey ? 0.002 : 0.02;
    const move = { ArrowLeft: [0, -step], ArrowRight: [0, step], ArrowUp: [-step, 0], ArrowDown: [step, 0] }[event.key];
    if (move) cross = cross.map((share, i) => within(0, share + move[i], 1));
    else if (event.key === "Enter") select({ at: [cross] }, true);
    else return;
    event.preventDefault();
    render();
  };
}
document.addEventListener("keydown", event => {
  if (event.key === "z" && (event.ctrlKey || event.metaKey)) undo();
  else if (event.key === "Escape" && selected) part("done").click();
});
const [, photograph, reference] = settings.server ? location.hash.split("#") : [];
if (photograph) fetched(photograph).then(open).then(() => reference && photo && fetched(reference).then(refer)).catch(fail);

"use strict";
// Colors the chosen photograph in a worker or on the server, as a person paints colors on it.
const part = name => document.querySelector(`[data-part=${name}]`);
const layer = part("layer");
const settings = JSON.parse(part("settings").textContent);
const paints = settings.hints || settings.draws;
const LONGEST_SIDE = 32767; // of a canvas in Firefox; other browsers allow more
const SHOWN = 512; // pixels of the short side while colors are painted
const BRUSH = 5; // pixels of the network's input
const SAMPLES = 4;
const LARGEST_PROJECT = 1e6; // bytes

const say = text => { part("status").textContent = text; };

// LAB of sRGB under D65, as in the package.
const TO_XYZ = [[0.412453, 0.35758, 0.180423], [0.212671, 0.71516, 0.072169], [0.019334, 0.119193, 0.950227]];
const TO_RGB = [[3.24048134, -1.53715152, -0.49853633], [-0.96925495, 1.87599, 0.04155593], [0.05564664, -0.20404134, 1.05731107]];
const WHITE = [0.95047, 1, 1.08883];
const product = (matrix, v) => matrix.map(row => row[0] * v[0] + row[1] * v[1] + row[2] * v[2]);

function toLab(rgb) {
  const linear = rgb.map(c => (c / 255 > 0.04045 ? ((c / 255 + 0.055) / 1.055) ** 2.4 : c / 255 / 12.92));
  const [x, y, z] = product(TO_XYZ, linear).map((c, i) => (c / WHITE[i] > 0.008856 ? Math.cbrt(c / WHITE[i]) : 7.787 * (c / WHITE[i]) + 4 / 29));
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

// The nearest color in sRGB of the same lightness and hue, as #rrggbb.
function toHex(L, a, b) {
  for (let share = 1; ; share -= 0.05) {
    const y = (L + 16) / 116;
    const roots = [y + (share * a) / 500, y, y - (share * b) / 200];
    const linear = product(TO_RGB, roots.map((c, i) => WHITE[i] * (c > 0.2068966 ? c ** 3 : (c - 4 / 29) / 7.787)));
    if (share > 0 && linear.some(c => c < -0.001 || c > 1.001)) continue;
    const bytes = linear.map(c => 255 * (c > 0.0031308 ? 1.055 * c ** (1 / 2.4) - 0.055 : 12.92 * c));
    return `#${bytes.map(c => Math.min(255, Math.max(0, Math.round(c))).toString(16).padStart(2, "0")).join("")}`;
  }
}
const toBytes = hex => [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16));

// The photograph: `full`, the smaller `shown`, and the sides of the network's input.
let photo;
// What was painted: {color, at: [[x, y], ...]}, as shares of the sides; and which sample is shown.
let work = { strokes: [], seed: 0 };
let past = []; // earlier ones
let selected = null; // a stroke, or one that has no color yet
let cross = [0.5, 0.5];
let latest = 0; // results of earlier jobs are dropped
let firstSample = 0;

const compute = settings.server ? onServer : inWorker();

function inWorker() {
  const worker = new Worker("worker.js", { type: "module" });
  worker.postMessage({ settings });
  const waiting = new Map();
  let count = 0;
  worker.onmessage = ({ data: { id, ...reply } }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (reply.error) reject(new Error(reply.error));
    else resolve(reply);
  };
  worker.onerror = event => {
    latest = NaN;
    part("file").disabled = true;
    say(`This browser cannot run the model: ${event.message || "open the page from a web server"}`);
  };
  return ({ hints, ...asked }) => new Promise((resolve, reject) => {
    const id = ++count;
    waiting.set(id, { resolve, reject });
    worker.postMessage({ id, ...asked, hints: hints && labPlanes(hints) });
  });
}

// a, b and mask, one after another, of RGBA.
function labPlanes(rgba) {
  const pixels = rgba.length / 4;
  const planes = new Float32Array(3 * pixels);
  for (let i = 0; i < pixels; i++) {
    if (rgba[4 * i + 3] === 0) continue;
    const [, a, b] = toLab([...rgba.subarray(4 * i, 4 * i + 3)]);
    [planes[i], planes[pixels + i], planes[2 * pixels + i]] = [a, b, 1];
  }
  return planes;
}

async function onServer({ image, hints, rows, columns, seeds, at }) {
  const head = JSON.stringify({ width: image.width, height: image.height, rows, columns, seeds, at });
  const body = new Blob([head, "\n", image.data, hints ?? new Uint8Array(4 * rows * columns)]);
  const reply = await fetch(location.href, { method: "POST", body });
  if (!reply.ok) throw new Error(`the server answered ${reply.status} ${reply.statusText}`);
  const bytes = new Uint8ClampedArray(await reply.arrayBuffer());
  const start = bytes.indexOf(10) + 1; // after a line of JSON
  const size = image.data.length;
  const images = seeds.map((_, i) => bytes.slice(start + i * size, start + (i + 1) * size));
  return { ...JSON.parse(new TextDecoder().decode(bytes.subarray(0, start))), images };
}

// One job after another; a job that is no longer needed when its turn comes is dropped.
let queue = Promise.resolve();
function ask(image, seeds, at = null, needed = () => true) {
  const { rows, columns } = photo;
  const result = queue.then(() => (needed() ? compute({ image, hints: hintsOf(rows, columns), rows, columns, seeds, at }) : null));
  queue = result.catch(() => {});
  return result;
}

// RGBA of the network's size: a square for each position, transparent elsewhere; null without any.
function hintsOf(rows, columns) {
  const rgba = new Uint8ClampedArray(4 * rows * columns);
  for (const { color, at } of work.strokes) {
    for (const [x, y] of at) {
      const [left, top] = [[x, columns], [y, rows]].map(([share, side]) => Math.max(0, Math.min(side - BRUSH, Math.round(share * side - BRUSH / 2))));
      for (let row = top; row < Math.min(rows, top + BRUSH); row++) {
        for (let column = left; column < Math.min(columns, left + BRUSH); column++) rgba.set([...toBytes(color), 255], 4 * (row * columns + column));
      }
    }
  }
  return work.strokes.length ? rgba : null;
}

function scaled(image, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white"; // behind transparency
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

function draw(canvas, data, { width, height }) {
  [canvas.width, canvas.height] = [width, height];
  canvas.getContext("2d").putImageData(data instanceof ImageData ? data : new ImageData(data, width, height), 0, 0);
}

async function open(file) {
  const job = ++latest;
  part("result").hidden = true;
  let image;
  try {
    image = await createImageBitmap(file);
  } catch {
    if (job === latest) say(`${file.name} is not an image that this browser can read.`);
    return;
  }
  if (job !== latest) {
    image.close();
    return;
  }
  const most = Math.sqrt(settings.most / (image.width * image.height));
  const scale = Math.min(1, most, LONGEST_SIDE / Math.max(image.width, image.height));
  const [width, height] = [image.width, image.height].map(side => Math.max(1, Math.floor(side * scale)));
  say(`${scale < 1 ? `Reduced to ${width} x ${height} pixels. ` : ""}Coloring …`);
  // Sides of the network's input, as in the package; its halves are rounded to even.
  const short = Math.min(width, height);
  const side = Math.max(1, Math.min(settings.size, Math.floor((4 * settings.size * short) / Math.max(width, height))));
  const [columns, rows] = [width, height].map(pixels => {
    const exact = (pixels * side) / short;
    return exact % 1 === 0.5 ? 2 * Math.round(exact / 2) : Math.round(exact);
  });
  const times = Math.max(1, Math.floor(SHOWN / side)); // a multiple has the same input
  const full = scaled(image, width, height);
  const shown = paints && short > times * side ? scaled(image, times * columns, times * rows) : full;
  image.close();
  photo = { name: file.name.replace(/\.[^.]*$/, ""), full, shown, rows, columns };
  [work, past, selected, firstSample] = [{ strokes: [], seed: 0 }, [], null, 0];
  draw(part("given"), shown, shown);
  part("compare").style.setProperty("--ratio", width / height);
  await recolor();
  if (settings.draws && job === latest - 1) await showSamples();
}

async function recolor() {
  const [job, start] = [++latest, performance.now()];
  render();
  try {
    const reply = await ask(photo.shown, [work.seed], null, () => job === latest);
    if (job !== latest) return;
    draw(part("colored"), reply.images[0], photo.shown);
    part("result").hidden = false;
    say(`${photo.full.width} x ${photo.full.height} pixels in ${((performance.now() - start) / 1000).toFixed(2)} s`);
  } catch (error) {
    if (job === latest) say(`The photograph could not be colored: ${error.message}`);
  }
}

function change(next) {
  past.push(work);
  work = { ...work, ...next };
  return recolor();
}

async function showSamples() {
  const { rows, columns } = photo;
  const seeds = [...Array(SAMPLES).keys()].map(i => firstSample + i);
  const small = await createImageBitmap(photo.shown).then(image => scaled(image, columns, rows));
  const job = latest;
  const reply = await ask(small, seeds, null, () => job === latest).catch(() => null);
  if (!reply || job !== latest) return;
  part("samples").replaceChildren(...reply.images.map((data, i) => {
    const button = document.createElement("button");
    button.append(document.createElement("canvas"));
    draw(button.firstChild, data, small);
    button.dataset.seed = seeds[i];
    button.setAttribute("aria-label", `coloring ${seeds[i] + 1}`);
    button.onclick = () => change({ seed: seeds[i] });
    return button;
  }));
  render();
}

// Points, crosshair and buttons as the work is.
function render() {
  const dot = ([x, y], name) => {
    const element = document.createElement(name);
    [element.style.left, element.style.top] = [`${100 * x}%`, `${100 * y}%`];
    return element;
  };
  const focused = [...part("points").children].indexOf(document.activeElement);
  part("points").replaceChildren(...work.strokes.map((stroke, i) => {
    const point = dot(stroke.at[0], "button");
    point.style.background = stroke.color;
    point.setAttribute("aria-label", `color ${i + 1}, ${stroke.color}; Delete removes it`);
    point.setAttribute("aria-pressed", stroke === selected);
    point.onclick = () => select(stroke);
    point.onkeydown = event => { if (["Delete", "Backspace"].includes(event.key)) remove(stroke); };
    return point;
  }));
  part("points").children[focused]?.focus();
  const isNew = selected && !selected.color;
  part("path").replaceChildren(...(isNew ? selected.at : []).map(at => dot(at, "i")));
  [part("cross").style.left, part("cross").style.top] = cross.map(share => `${100 * share}%`);
  part("colors").hidden = !selected;
  part("remove").hidden = isNew;
  part("undo").disabled = !past.length;
  for (const button of part("samples").children) button.setAttribute("aria-pressed", Number(button.dataset.seed) === work.seed);
}

// Offers colors for a stroke: probable ones first.
async function select(stroke, focus = false) {
  selected = stroke;
  cross = stroke.at[0];
  const { shown } = photo;
  const [column, row] = [shown.width, shown.height].map((side, i) => Math.min(side - 1, Math.floor(cross[i] * side)));
  const pixel = 4 * (row * shown.width + column);
  const [L] = toLab([...shown.data.subarray(pixel, pixel + 3)]);
  const hues = [...Array(12).keys()].map(i => toHex(L, 50 * Math.cos((i * Math.PI) / 6), 50 * Math.sin((i * Math.PI) / 6)));
  part("hues").replaceChildren(...[...hues, toHex(L, 0, 0)].map(swatch));
  part("probable").replaceChildren();
  part("other").value = stroke.color ?? toHex(L, 0, 0);
  render();
  part("cross").scrollIntoView({ block: "nearest" });
  const reply = await ask(shown, [], [cross[1], cross[0]], () => selected === stroke).catch(() => null);
  if (!reply || selected !== stroke) return;
  const taken = [];
  for (const [a, b] of reply.candidates.sort((one, other) => other[2] - one[2])) {
    if (taken.length < 6 && taken.every(other => Math.hypot(a - other[0], b - other[1]) > 14)) taken.push([a, b]);
  }
  part("probable").replaceChildren(...taken.map(([a, b]) => swatch(toHex(L, a, b))));
  if (focus) part("probable").firstChild.focus();
}

function swatch(color) {
  const button = document.createElement("button");
  button.style.background = color;
  button.setAttribute("aria-label", color);
  button.onclick = () => choose(color);
  return button;
}

function choose(color) {
  const stroke = { ...selected, color };
  const known = work.strokes.includes(selected);
  const strokes = known ? work.strokes.map(each => (each === selected ? stroke : each)) : [...work.strokes, stroke];
  if (document.activeElement !== part("other")) layer.focus({ preventScroll: true });
  selected = stroke;
  return change({ strokes });
}

function remove(stroke) {
  selected = null;
  layer.focus({ preventScroll: true });
  if (!work.strokes.includes(stroke)) return render();
  return change({ strokes: work.strokes.filter(each => each !== stroke) });
}

function undo() {
  if (!past.length) return;
  [work, selected] = [past.pop(), null];
  recolor();
}

function download(file, name) {
  const link = document.createElement("a");
  [link.href, link.download] = [URL.createObjectURL(file), name];
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

part("save").onclick = async () => {
  let canvas = part("colored");
  try {
    if (photo.shown !== photo.full) {
      say("Coloring at full size …");
      const { full } = photo;
      const reply = await ask(full, [work.seed]);
      canvas = document.createElement("canvas");
      draw(canvas, reply.images[0], full);
      say("");
    }
    download(await new Promise(done => canvas.toBlob(done, "image/png")), `${photo.name}-color.png`);
  } catch (error) {
    say(`The photograph could not be saved: ${error.message}`);
  }
};
part("project").onclick = () => {
  const content = JSON.stringify({ format: "lightning-colorize hints", version: 1, ...work });
  download(new Blob([content], { type: "application/json" }), `${photo.name}-colors.json`);
};

async function load(file) {
  const isShare = share => typeof share === "number" && share >= 0 && share <= 1;
  try {
    if (file.size > LARGEST_PROJECT) throw new Error();
    const { format, version, strokes, seed } = JSON.parse(await file.text());
    const isStroke = ({ color, at }) => /^#[0-9a-f]{6}$/.test(color) && at.length && at.every(place => place.length === 2 && place.every(isShare));
    if (format !== "lightning-colorize hints" || version !== 1 || !strokes.every(isStroke)) throw new Error();
    if (!Number.isInteger(seed) || seed < 0 || seed >= 2 ** 31) throw new Error();
    selected = null;
    await change({ strokes: strokes.map(({ color, at }) => ({ color, at })), seed });
  } catch {
    say(`${file.name} contains no colors that this page saved.`);
  }
}

for (const [name, receive] of [["file", open], ["load", load]]) {
  part(name).onchange = event => {
    if (event.target.files[0]) receive(event.target.files[0]);
    event.target.value = ""; // the same file can be chosen again
  };
}
part("cut").oninput = event => part("compare").style.setProperty("--cut", `${event.target.value}%`);
part("other").onchange = event => choose(event.target.value);
part("remove").onclick = () => remove(selected);
part("done").onclick = () => { selected = null; render(); };
part("undo").onclick = undo;
part("more").onclick = () => { firstSample += SAMPLES; showSamples(); };
for (const kind of ["dragover", "dragleave", "drop"]) {
  part("drop").addEventListener(kind, event => {
    event.preventDefault();
    part("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
  });
}

let painted = null; // positions since the pointer went down
function placeOf(event) {
  const { left, top, width, height } = layer.getBoundingClientRect();
  return [(event.clientX - left) / width, (event.clientY - top) / height].map(share => Math.min(1, Math.max(0, share)));
}
if (settings.hints) {
  layer.onpointerdown = event => {
    if (event.target.closest("button") || event.button) return;
    layer.setPointerCapture(event.pointerId);
    painted = [placeOf(event)];
  };
  layer.onpointermove = event => {
    const place = placeOf(event);
    const [x, y] = painted?.at(-1) ?? place;
    if (Math.hypot(place[0] - x, place[1] - y) > 0.015) painted.push(place);
  };
  layer.onpointerup = () => {
    if (painted) select({ at: painted });
    painted = null;
  };
  layer.onpointercancel = () => { painted = null; };
  layer.onkeydown = event => {
    const step = event.shiftKey ? 0.002 : 0.02;
    const move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    if (event.target !== layer) return;
    if (move) cross = cross.map((share, i) => Math.min(1, Math.max(0, share + move[i])));
    else if (event.key === "Enter") select({ at: [cross] }, true);
    else if (event.key === "Delete" && selected) remove(selected);
    else return;
    event.preventDefault();
    render();
  };
}
document.addEventListener("keydown", event => {
  if (event.key === "z" && (event.ctrlKey || event.metaKey)) undo();
  else if (event.key === "Escape" && selected) part("done").click();
});

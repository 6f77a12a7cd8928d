// Colors photographs by the exported graphs: `before` and `after` convert, the others are the network.
import * as ort from "./ort.wasm.min.mjs";

ort.env.wasm.wasmPaths = new URL("./", import.meta.url).href;
// More than one thread needs headers that few web hosts send.
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
const LOADING = "Loading the model …";
const sessions = {};
let settings, network, ready;
let isAsked = false;
let alike = {}; // the last reference and image, with the hints that they give
let seen = {}; // the last image and hints, with what the network's first graph made of them
const run = (name, feeds, outputs) => sessions[name].run(feeds, outputs);
const floats = (values, dims) => new ort.Tensor("float32", values, dims);

onmessage = async ({ data: { settings: given, ...asked } }) => {
  if (given) { // before all others
    ready = start(given);
    ready.catch(() => postMessage({ stage: "" })); // reported with the first photograph
    return;
  }
  isAsked = true;
  try {
    await ready;
    postMessage(await color(asked));
  } catch (error) {
    postMessage({ error: error.message ?? String(error) });
  }
};

// Says what it does while a person chooses the first photograph.
async function start(given) {
  postMessage({ stage: LOADING });
  settings = given;
  network = settings.draws ? ["model.encoder", "model.denoiser"] : ["model"];
  const names = [...network, "after"];
  const before = ort.InferenceSession.create(new URL("before.onnx", import.meta.url).href); // and the runtime
  before.catch(() => {}); // awaited below
  const graphs = await download(names.map(name => `${name}.onnx`));
  postMessage({ stage: "Compiling the model …" });
  sessions.before = await before;
  for (const [i, name] of names.entries()) sessions[name] = await ort.InferenceSession.create(graphs[i]);
  const image = { data: new Uint8ClampedArray(4 * 8 * 8), width: 8, height: 8 };
  const blank = { image, hints: new Int8Array(3), rows: 1, columns: 1, at: null };
  // The first run takes twice as long as others.
  if (!isAsked) await color({ ...blank, seeds: settings.draws ? [] : [0] });
  postMessage({ stage: "" });
}

// The files' contents; says how much of them is there.
async function download(names) {
  const replies = await Promise.all(names.map(name => fetch(new URL(name, import.meta.url))));
  const failed = replies.find(reply => !reply.ok);
  if (failed) throw new Error(`${failed.url}: ${failed.status} ${failed.statusText}`);
  const total = replies.reduce((sum, reply) => sum + Number(reply.headers.get("Content-Length")), 0);
  let [read, shown] = [0, ""];
  const counted = () => new TransformStream({
    transform(chunk, controller) {
      read += chunk.length;
      const percent = 10 * Math.min(10, Math.floor((10 * read) / total)); // the total may be of compressed files
      const stage = total ? `Loading the model: ${percent} % of ${Math.round(total / 1e6)} MB` : LOADING;
      if (stage !== shown) postMessage({ stage });
      shown = stage;
      controller.enqueue(chunk);
    },
  });
  return Promise.all(replies.map(reply => new Response(reply.body.pipeThrough(counted())).arrayBuffer()));
}

function imageOf({ data, width, height }) {
  const pixels = width * height;
  const planes = new Uint8Array(3 * pixels);
  for (let i = 0; i < pixels; i++) {
    for (let plane = 0; plane < 3; plane++) planes[plane * pixels + i] = data[4 * i + plane];
  }
  return new ort.Tensor("uint8", planes, [1, 3, height, width]);
}

// The reference's hints for cells of an image; or why it is refused.
async function correspondences(compared, reference) {
  if (isSame(alike.compared?.data, compared.data) && isSame(alike.reference?.data, reference.data)) return alike.found;
  if (Math.min(reference.width, reference.height) < 16) return { refused: "the reference image is smaller than 16 pixels" };
  if (!sessions.reference) {
    postMessage({ stage: "Loading the model that compares photographs …" });
    sessions.reference = await ort.InferenceSession.create(new URL("reference.onnx", import.meta.url).href);
    postMessage({ stage: "" });
  }
  const { hints, grey } = await run("reference", { image: imageOf(compared), reference: imageOf(reference) });
  let found = { hints };
  if (grey.data[0]) found = { refused: "the reference image is grey; give a color photograph" };
  else if (hints.data.every(value => !value)) found = { refused: "nothing corresponds to the reference" };
  alike = { compared, reference, found };
  return found;
}

// Painted hints, and others where nothing is painted within an eighth of the short side.
function joined(painted, rows, columns, { data, dims: [, , height, width] }) {
  const planes = Float32Array.from(painted);
  const [pixels, cells, reach] = [rows * columns, height * width, Math.floor(Math.min(rows, columns) / 8)];
  const places = [...Array(pixels).keys()].filter(i => painted[2 * pixels + i]).map(i => [Math.floor(i / columns), i % columns]);
  for (let cell = 0; cell < cells; cell++) {
    const row = Math.floor(((Math.floor(cell / width) + 0.5) * rows) / height);
    const column = Math.floor((((cell % width) + 0.5) * columns) / width);
    const isNear = ([y, x]) => Math.abs(y - row) <= reach && Math.abs(x - column) <= reach;
    if (!data[2 * cells + cell] || places.some(isNear)) continue;
    for (let plane = 0; plane < 3; plane++) planes[plane * pixels + row * columns + column] = data[plane * cells + cell];
  }
  return planes;
}

async function color({ image: given, hints: painted, rows, columns, seeds, at, early, reference, compared }) {
  const { data, width, height } = given;
  const pixels = width * height;
  const image = imageOf(given);
  const found = reference ? await correspondences(compared, reference) : {};
  const hints = found.hints ? joined(painted, rows, columns, found.hints) : painted;
  if (!isSame(seen.data, data) || !isSame(seen.hints, hints)) {
    const { L } = await run("before", { image }, ["L"]);
    const known = {
      L,
      hints: padded(hints, rows, columns, L.dims[2], L.dims[3]),
      palettes: floats(new Float32Array(15), [1, 5, 3]), // none
      labels: new ort.Tensor("int64", [-1n], [1]), // none
    };
    const feeds = Object.fromEntries(settings.inputs.map(name => [name, known[name]]));
    seen = { data, hints, known, encoded: await run(network[0], feeds) };
  }
  const { encoded, known } = seen;
  const colored = async ab => {
    const result = await run("after", settings.draws ? { ab, image, L: known.L, hints: known.hints } : { ab, image });
    const own = data.slice(); // with its alpha
    for (let i = 0; i < pixels; i++) {
      for (let plane = 0; plane < 3; plane++) own[4 * i + plane] = result.colored.data[plane * pixels + i];
    }
    return own;
  };
  const show = async ab => early && postMessage({ early: await colored(ab) });
  const images = [];
  for (const seed of seeds) images.push(await colored(settings.draws ? await sample(encoded, seed, show) : encoded.ab));
  return { images, refused: found.refused, candidates: at ? candidates(encoded, at, [rows, columns]) : [] };
}

const isSame = (one, other) => one?.length === other.length && one.every((value, i) => value === other[i]);

// Hints as the network takes them, padded by reflection as L is.
function padded(hints, rows, columns, height, width) {
  const mirrored = (i, side) => Math.max(0, side - 1 - Math.abs(side - 1 - i));
  const planes = Float32Array.from({ length: 3 * height * width }, (_, i) => {
    const [plane, row, column] = [Math.floor(i / height / width), Math.floor(i / width) % height, i % width];
    return hints[(plane * rows + mirrored(row, rows)) * columns + mirrored(column, columns)];
  });
  return floats(planes, [1, 3, height, width]);
}

// Colors at a quarter of the size, from a seed's noise by Euler steps of flow matching. After a
// quarter of them, `show` receives the colors to which the last one points.
async function sample({ context, ab_mean: mean, ab_spread: spread }, seed, show) {
  const { steps, guidance, variety, strength } = settings;
  const without = floats(new Float32Array(context.size), context.dims);
  const x = noise(seed, mean.size);
  const colors = values => floats(values.map((value, i) => strength * (mean.data[i] + variety * spread.data[i] * value)), mean.dims);
  for (let step = 0; step < steps && variety > 0; step++) {
    const feeds = { x: floats(x, mean.dims), time: floats([step / steps], [1]) };
    const { prediction } = await run(network[1], { ...feeds, context });
    const base = guidance === 1 ? prediction : (await run(network[1], { ...feeds, context: without })).prediction;
    const change = base.data.map((value, i) => (value + guidance * (prediction.data[i] - value)) / steps);
    change.forEach((value, i) => { x[i] += value; });
    if (step + 1 === steps >> 2) await show(colors(x.map((value, i) => value + (steps - step - 1) * change[i])));
  }
  return colors(x);
}

// Standard normal numbers: mulberry32, and the transform of Box and Muller.
function noise(seed, size) {
  let state = seed;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (((t ^ (t >>> 14)) >>> 0) + 1) / 4294967297;
  };
  return Float32Array.from({ length: size }, () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()));
}

// The colors that a place may have, as [a, b, share].
function candidates({ shares, ab, ab_mean }, at, sides) {
  const known = shares ?? ab ?? ab_mean;
  const reduction = ab && !shares ? 1 : 4;
  const [, , height, width] = known.dims;
  const [row, column] = at.map((share, i) => Math.floor(Math.min(share * sides[i], sides[i] - 1) / reduction));
  const value = plane => known.data[(plane * height + row) * width + column];
  return shares ? settings.centers.map((center, i) => [...center, value(i)]) : [[value(0), value(1), 1]];
}

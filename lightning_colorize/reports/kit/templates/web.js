"use strict";
// Colors the chosen photograph in a worker, so that the page stays responsive.
const part = name => document.querySelector(`[data-part=${name}]`);
const MOST_PIXELS = 12e6; // of one image: WebAssembly has 4 GB
const LONGEST_SIDE = 32767; // of a canvas in Firefox; other browsers allow more
const worker = new Worker("worker.js", { type: "module" });
let saved, latest = 0;

const say = text => { part("status").textContent = text; };

async function open(file) {
  const job = ++latest; // results of earlier ones are dropped
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
  const most = Math.sqrt(MOST_PIXELS / (image.width * image.height));
  const scale = Math.min(1, most, LONGEST_SIDE / Math.max(image.width, image.height));
  const [width, height] = [image.width, image.height].map(side => Math.max(1, Math.floor(side * scale)));
  const canvas = part("given");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white"; // behind transparency
  context.fillRect(0, 0, width, height);
  context.drawImage(image, 0, 0, width, height);
  image.close();
  const name = file.name.replace(/\.[^.]*$/, "");
  say(`${scale < 1 ? `Reduced to ${width} x ${height} pixels. ` : ""}Coloring …`);
  const { data } = context.getImageData(0, 0, width, height);
  worker.postMessage({ data, width, height, name, job }, [data.buffer]);
}

worker.onmessage = async ({ data: { data, width, height, name, job, seconds, error } }) => {
  if (job !== latest) return;
  if (error) {
    say(`The photograph could not be colored: ${error}`);
    return;
  }
  const canvas = part("colored");
  [canvas.width, canvas.height] = [width, height];
  canvas.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
  const file = await new Promise(done => canvas.toBlob(done, "image/png"));
  if (job !== latest) return; // another one was opened meanwhile
  URL.revokeObjectURL(saved);
  saved = URL.createObjectURL(file);
  [part("save").href, part("save").download] = [saved, `${name}-color.png`];
  part("result").hidden = false;
  say(`${width} x ${height} pixels in ${seconds.toFixed(1)} s`);
};
worker.onerror = event => {
  latest = NaN;
  part("file").disabled = true;
  say(`This browser cannot run the model: ${event.message || "open the page from a web server"}`);
};

part("file").onchange = event => {
  if (event.target.files[0]) open(event.target.files[0]);
  event.target.value = ""; // the same file can be chosen again
};
part("cut").oninput = event => part("compare").style.setProperty("--cut", `${event.target.value}%`);
for (const kind of ["dragover", "dragleave", "drop"]) {
  part("drop").addEventListener(kind, event => {
    event.preventDefault();
    part("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
  });
}

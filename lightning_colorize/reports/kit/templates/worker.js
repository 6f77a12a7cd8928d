// From pixels, RGBA, to colored pixels in their place.
import * as ort from "./ort.wasm.min.mjs";

ort.env.wasm.wasmPaths = new URL("./", import.meta.url).href;
ort.env.wasm.numThreads = 1; // more need headers that few web hosts send
const loading = ort.InferenceSession.create(new URL("model.onnx", import.meta.url).href);
loading.catch(() => {}); // reported with the first photograph

onmessage = async ({ data: { data, width, height, name, job } }) => {
  try {
    const start = performance.now();
    const pixels = width * height;
    const planes = new Uint8Array(3 * pixels);
    for (let i = 0; i < pixels; i++) {
      for (let plane = 0; plane < 3; plane++) planes[plane * pixels + i] = data[4 * i + plane];
    }
    const session = await loading;
    const image = new ort.Tensor("uint8", planes, [1, 3, height, width]);
    const colored = (await session.run({ image })).colored.data;
    for (let i = 0; i < pixels; i++) {
      for (let plane = 0; plane < 3; plane++) data[4 * i + plane] = colored[plane * pixels + i];
    }
    const seconds = (performance.now() - start) / 1000;
    postMessage({ data, width, height, name, job, seconds }, [data.buffer]);
  } catch (error) {
    postMessage({ job, error: error.message ?? String(error) });
  }
};

// The same file that the service runs, in this browser, with the same latents.
import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";
import { latents } from "./latents.mjs";

const COUNT = 16;
const told = document.getElementById("told");

ort.env.wasm.wasmPaths = new URL("./node_modules/onnxruntime-web/dist/", import.meta.url).href;
ort.env.wasm.numThreads = 1; // more need a server that isolates the page

// The contract says what the latents and the images look like. This runtime does not give metadata
// out, but the shapes are in the file's inputs and outputs, and that is all that is needed here.
async function draw(session, seed, label) {
  const dim = session.inputMetadata[0].shape[1];
  const feeds = { latents: new ort.Tensor("float32", latents(seed, 0n, COUNT, dim), [COUNT, dim]) };
  if (isConditional(session)) {
    feeds.labels = new ort.Tensor("int64", new BigInt64Array(COUNT).fill(label), [COUNT]);
  }
  const { images } = await session.run(feeds);
  return { pixels: images.data, shape: images.dims };
}

const isConditional = (session) => session.inputNames.includes("labels");

// Tiles [n, H, W, C] into rows of four.
function show({ pixels, shape: [n, height, width, channels] }) {
  const canvas = document.getElementById("images");
  const columns = Math.ceil(Math.sqrt(n));
  canvas.width = columns * width;
  canvas.height = Math.ceil(n / columns) * height;
  const context = canvas.getContext("2d");
  for (let i = 0; i < n; i++) {
    const tile = new ImageData(width, height);
    for (let k = 0; k < height * width; k++) {
      const start = (i * height * width + k) * channels;
      for (let c = 0; c < 3; c++) tile.data[4 * k + c] = pixels[start + (channels === 1 ? 0 : c)];
      tile.data[4 * k + 3] = channels === 4 ? pixels[start + 3] : 255;
    }
    context.putImageData(tile, (i % columns) * width, Math.floor(i / columns) * height);
  }
}

const whole = (id) => BigInt(document.getElementById(id).value);

async function start() {
  const session = await ort.InferenceSession.create("generator.onnx", {
    executionProviders: ["wasm"],
  });
  document.getElementById("class").hidden = !isConditional(session);
  const answer = async () => {
    const began = performance.now();
    const drawn = await draw(session, whole("seed"), whole("label"));
    show(drawn);
    told.textContent = `${COUNT} images in ${Math.round(performance.now() - began)} ms, in this browser`;
    return drawn;
  };
  document.getElementById("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    answer().catch(fail);
  });
  await answer();
}

function fail(error) {
  told.textContent = `it failed: ${error.message}`;
}

start().catch(fail);

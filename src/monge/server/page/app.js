// The page of a monge service: samples of a seed, a walk between two, and what the model is.
// The address's fragment says what is shown, so that a link shows the same.

import { ownPictures } from "./pictures.js";

const $ = (id) => document.getElementById(id);
const STEPS = 33;
const MOST = 2n ** 64n - 1n;

let token = null;
let asked = 0; // the newest request; what older ones bring is thrown away
let strip = null; // the walk: its images side by side
let truncation = null;

async function ask(path, body, kind = "application/json") {
  const headers = {};
  if (token !== null) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = kind;
  let answer;
  try {
    answer = await fetch(path, { method: body === undefined ? "GET" : "POST", headers, body });
  } catch {
    throw new Error("the service does not answer");
  }
  if (answer.ok) return answer;
  if (answer.status === 401) {
    $("entry").hidden = false;
    $("token").focus();
  }
  const problem = await answer.json().catch(() => ({ detail: answer.statusText }));
  const wait = answer.headers.get("Retry-After");
  throw new Error(problem.detail + (wait ? ` (again in ${wait} s)` : ""));
}

// Seeds go beyond what a JavaScript number holds: they are written into the JSON as they are typed.
function seedOf(id) {
  const text = $(id).value.trim();
  if (!/^[0-9]{1,20}$/.test(text) || BigInt(text) > MOST) {
    throw new Error("a seed is a whole number from 0 to 18446744073709551615");
  }
  return BigInt(text).toString();
}

function samplesBody(extra) {
  const cut = truncation === null ? "" : `,"truncation":${truncation}`;
  return `{"n":${$("count").value},"seed":${seedOf("seed")}${cut}${labelled("labels")},${extra}}`;
}

// The chosen class as a member of a request; nothing where the classes come as they come.
function labelled(name) {
  return $("label").value === "" ? "" : `,"${name}":${JSON.stringify($("label").value)}`;
}

function tell(id, text, bad = false) {
  $(id).textContent = text;
  $(id).classList.toggle("bad", bad);
}

async function showSamples() {
  const mine = ++asked;
  const began = performance.now();
  try {
    const answer = await ask("v1/samples", samplesBody('"format":"png","layout":"grid"'));
    const blob = await answer.blob();
    if (mine !== asked) return;
    const image = $("grid");
    URL.revokeObjectURL(image.src);
    image.src = URL.createObjectURL(blob);
    await image.decode();
    const of = $("label").value === "" ? "" : ` of class ${$("label").value}`;
    image.alt = `${$("count").value} images of seed ${seedOf("seed")}${of}`;
    image.classList.toggle("pixelated", image.naturalWidth < 1200);
    const drawn = /total;dur=([\d.]+)/.exec(answer.headers.get("Server-Timing") ?? "");
    const here = Math.round(performance.now() - began);
    tell("told", `${here} ms here${drawn ? `, ${Math.round(drawn[1])} ms in the service` : ""}`);
    $("png").href = image.src;
    $("png").download = `seed-${seedOf("seed")}.png`;
    remember();
  } catch (error) {
    if (mine === asked) tell("told", error.message, true);
  }
}

async function download(event) {
  event.preventDefault();
  try {
    const answer = await ask("v1/samples", samplesBody('"format":"npz"'));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await answer.blob());
    link.download = `seed-${seedOf("seed")}.npz`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  } catch (error) {
    tell("told", error.message, true);
  }
}

// The whole walk comes at once, so that the slider needs no network.
async function walk() {
  try {
    const body = `{"start":{"seed":${seedOf("from")}},"end":{"seed":${seedOf("to")}},` +
      `"steps":${STEPS}${labelled("label")},"format":"raw"}`;
    const answer = await ask("v1/interpolations", body);
    strip = await imagesOf(answer);
    tell("walked", "");
    draw();
    remember();
  } catch (error) {
    tell("walked", error.message, true);
  }
}

async function imagesOf(answer) {
  const [n, height, width, channels] = answer.headers.get("Monge-Shape").split(",").map(Number);
  return { n, height, width, channels, pixels: new Uint8Array(await answer.arrayBuffer()) };
}

function draw() {
  if (strip !== null) paint($("step"), strip, Number($("place").value));
}

// Image i of several, in its own size: the style enlarges it.
function paint(canvas, { height, width, channels, pixels }, index) {
  const size = height * width;
  const image = new ImageData(width, height);
  const start = index * size * channels;
  [canvas.width, canvas.height] = [width, height];
  for (let i = 0; i < size; i++) {
    for (let c = 0; c < 3; c++) {
      image.data[4 * i + c] = pixels[start + i * channels + (channels === 1 ? 0 : c)];
    }
    image.data[4 * i + 3] = channels === 4 ? pixels[start + 4 * i + 3] : 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

async function showModel() {
  const model = await (await ask("v1/model")).json();
  const { contract } = model;
  const [height, width, channels] = contract.image_shape;
  $("model").textContent = `${model.name}, version ${model.version}, on ${model.provider}`;
  showClasses(contract);
  own.show(model);
  const facts = {
    Images: `${width} × ${height}, ${{ 1: "grey", 3: "colour", 4: "colour and opacity" }[channels]}`,
    "Latent values": contract.latent_dim,
    Method: contract.parameters.objective ?? "not told",
    "Trained to step": contract.step.toLocaleString("en"),
    Classes: contract.classes.join(", ") || "none known",
    "Data (hash)": contract.dataset_hash ?? "not told",
    "Code (revision)": contract.git_revision ?? "not told",
    "File (SHA-256)": model.model_hash,
  };
  $("contract").replaceChildren(...Object.entries(facts).flatMap(([name, value]) => {
    const [term, text] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    text.textContent = value;
    return [term, text];
  }));
}

// A menu of the classes, for a generator that takes labels.
function showClasses({ classes, label_shares: shares }) {
  $("classes").hidden = shares.length === 0;
  if (shares.length === 0 || $("label").options.length > 1) return;
  $("label").append(...classes.map((name) => new Option(name, name)));
  const asked = new URLSearchParams(location.hash.slice(1)).get("label");
  if (classes.includes(asked)) $("label").value = asked;
}

function remember() {
  const state = new URLSearchParams({ seed: $("seed").value, n: $("count").value });
  if (truncation !== null) state.set("truncation", truncation);
  if ($("label").value !== "") state.set("label", $("label").value);
  state.set("from", $("from").value);
  state.set("to", $("to").value);
  history.replaceState(null, "", `#${state}`);
}

function recall() {
  const state = new URLSearchParams(location.hash.slice(1));
  for (const [key, id] of [["seed", "seed"], ["n", "count"], ["from", "from"], ["to", "to"]]) {
    const value = state.get(key);
    if (value !== null && /^[0-9]{1,20}$/.test(value)) $(id).value = value;
  }
  if (!$("count").value) $("count").value = "36";
  const cut = Number(state.get("truncation"));
  if (cut >= 0.2 && cut < 3) $("truncation").value = cut;
  readTruncation();
}

function readTruncation() {
  const value = Number($("truncation").value);
  truncation = value >= 3 ? null : value;
  $("truncated").textContent = truncation === null ? "none" : value.toFixed(1);
}

function move(to) {
  try {
    $("seed").value = to(BigInt(seedOf("seed"))).toString();
  } catch {
    $("seed").value = "0";
  }
  showSamples();
}

const own = ownPictures({ ask, seedOf, labelled, imagesOf, paint, tell });

async function start() {
  recall();
  try {
    await showModel();
    $("entry").hidden = true;
    await showSamples();
    await walk();
  } catch (error) {
    tell("told", error.message, true);
  }
}

$("before").addEventListener("click", () => move((seed) => (seed > 0n ? seed - 1n : MOST)));
$("after").addEventListener("click", () => move((seed) => (seed < MOST ? seed + 1n : 0n)));
$("any").addEventListener("click", () =>
  move(() => BigInt(crypto.getRandomValues(new Uint32Array(1))[0])));
$("ask").addEventListener("submit", (event) => { event.preventDefault(); showSamples(); });
$("seed").addEventListener("change", showSamples);
$("count").addEventListener("change", showSamples);
$("truncation").addEventListener("input", readTruncation);
$("truncation").addEventListener("change", showSamples);
$("label").addEventListener("change", () => { showSamples(); walk(); own.draw(); });
$("ends").addEventListener("submit", (event) => { event.preventDefault(); walk(); });
$("place").addEventListener("input", draw);
$("npz").addEventListener("click", download);
$("entry").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value;
  start();
});
start();

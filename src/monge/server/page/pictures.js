// A person's own pictures: their latents, what the generator makes of these, and a walk from one.

const $ = (id) => document.getElementById(id);
const STEPS = 33;
const SLOTS = [
  { file: "picture", given: "given", back: "back" },
  { file: "other", given: "given-other", back: "back-other" },
];

export function ownPictures({ ask, seedOf, labelled, imagesOf, paint, tell }) {
  const latents = [null, null]; // of each slot's picture: { file, values, generator }
  let most = Infinity; // bytes of a file that the service takes
  let conditional = false;
  let asked = 0; // the newest request; what older ones bring is thrown away
  let strip = null;

  // Only a generator with an encoder has the way back.
  function show(model) {
    $("own").hidden = !model.encoder;
    most = model.limits.body_bytes;
    conditional = model.contract.label_shares.length > 0;
  }

  async function take(slot, file) {
    const { given, back } = SLOTS[slot];
    try {
      if (file.size > most) throw new Error(`${file.name} is larger than ${most >> 20} MiB`);
      tell("encoded", "finding its latents …");
      latents[slot] = await encoded(file);
      const other = latents[1 - slot];
      if (other !== null && other.generator !== latents[slot].generator) { // a new champion
        latents[1 - slot] = await encoded(other.file);
      }
      const seen = $(given);
      URL.revokeObjectURL(seen.src);
      seen.src = URL.createObjectURL(file);
      seen.alt = file.name;
      $(back).closest(".seen").hidden = false;
      await draw();
    } catch (error) {
      tell("encoded", error.message, true);
    }
  }

  async function encoded(file) {
    const answer = await ask("v1/latents", file, "application/octet-stream");
    const { latents: [values], generator } = await answer.json();
    return { file, values, generator };
  }

  // Draw the pictures again, and the walk from the first to the second or to a seed.
  async function draw() {
    const known = latents.filter((one) => one !== null);
    if (known.length === 0) return;
    const mine = ++asked;
    try {
      if (conditional && labelled("label") === "") throw new Error("choose a class above: this generator draws by class");
      const { generator } = known[0];
      const again = await drawn("v1/samples", generator, labelled("labels"),
        `"latents":${JSON.stringify(known.map((one) => one.values))}`);
      const walked = latents[0] === null ? null : await drawn("v1/interpolations", generator,
        labelled("label"), `"start":${end(0)},"end":${end(1)},"steps":${STEPS}`);
      if (mine !== asked) return;
      let row = 0;
      latents.forEach((one, slot) => { if (one !== null) paint($(SLOTS[slot].back), again, row++); });
      strip = walked;
      $("way").hidden = strip === null;
      step();
      tell("encoded", latents[0] === null ? "Give a first picture to walk from." : "");
    } catch (error) {
      if (mine === asked) tell("encoded", error.message, true);
    }
  }

  async function drawn(path, generator, label, what) {
    return imagesOf(await ask(path, `{${what},"generator":"${generator}"${label},"format":"raw"}`));
  }

  function end(slot) {
    return latents[slot] === null ? `{"seed":${seedOf("goal")}}`
      : `{"latents":${JSON.stringify(latents[slot].values)}}`;
  }

  function step() {
    if (strip !== null) paint($("between-pictures"), strip, Number($("along").value));
  }

  for (const zone of document.querySelectorAll(".drop")) {
    const slot = Number(zone.dataset.slot);
    const over = (on) => (event) => { event.preventDefault(); zone.classList.toggle("over", on); };
    zone.addEventListener("dragover", over(true));
    zone.addEventListener("dragleave", over(false));
    zone.addEventListener("drop", (event) => {
      over(false)(event);
      const file = event.dataTransfer.files[0];
      if (file) take(slot, file);
    });
    $(SLOTS[slot].file).addEventListener("change", (event) => {
      if (event.target.files[0]) take(slot, event.target.files[0]);
    });
  }
  // A seed as the goal takes the place of another picture.
  $("goal").addEventListener("change", () => {
    latents[1] = null;
    $("other").value = "";
    $("back-other").closest(".seen").hidden = true;
    draw();
  });
  $("along").addEventListener("input", step);
  return { show, draw };
}

// Prints the bits of some latents: seed first count dim [truncation].
import { latents } from "../../examples/browser/latents.mjs";

const [seed, first, count, dim, truncation] = process.argv.slice(2);
const cut = truncation === undefined ? null : Number(truncation);
const drawn = latents(BigInt(seed), BigInt(first), Number(count), Number(dim), cut);
const bits = new Uint32Array(drawn.buffer);
console.log([...bits].map((word) => word.toString(16).padStart(8, "0")).join(" "));

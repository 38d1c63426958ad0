// Prints some labels: seed first count shares...
import { labels } from "../../examples/browser/latents.mjs";

const [seed, first, count, ...shares] = process.argv.slice(2);
console.log(labels(BigInt(seed), BigInt(first), Number(count), shares.map(Number)).join(" "));

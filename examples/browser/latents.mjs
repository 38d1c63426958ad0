// monge latents v1 in JavaScript, from docs/reference/latents.md alone: the same bits as Python's.
// Used by main.mjs here, and held to the published bits by tests/contracts.

const CENTRE_TOP = [
  2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4,
  4.5921953931549871457e4, 1.3731693765509461125e4, 1.9715909503065514427e3,
  1.3314166789178437745e2, 3.3871328727963666080,
];
const CENTRE_BOTTOM = [
  5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4,
  2.1213794301586595867e4, 5.3941960214247511077e3, 6.8718700749205790830e2,
  4.2313330701600911252e1, 1.0,
];
const TAIL_TOP = [
  7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
  1.27045825245236838258, 3.64784832476320460504, 5.76949722146069140550,
  4.63033784615654529590, 1.42343711074968357734,
];
const TAIL_BOTTOM = [
  1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2,
  1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940,
  2.05319162663775882187, 1.0,
];
const ATANH = [23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1].map((k) => 1 / k);
const SQRT_HALF = 0.7071067811865476;
const LN2 = 0.6931471805599453;

const horner = (coefficients, x) => coefficients.reduce((value, c) => value * x + c);

function multiplyHighLow(a, b) {
  const product = BigInt(a) * BigInt(b);
  return [Number(product >> 32n), Number(product & 0xffffffffn)];
}

export function philox(counter, key) {
  let [x0, x1, x2, x3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const [high0, low0] = multiplyHighLow(0xd2511f53, x0);
    const [high1, low1] = multiplyHighLow(0xcd9e8d57, x2);
    [x0, x1, x2, x3] = [(high1 ^ x1 ^ k0) >>> 0, low1, (high0 ^ x3 ^ k1) >>> 0, low0];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [x0, x1, x2, x3];
}

function log(x) {
  let exponent = 0;
  while (x < SQRT_HALF) {
    x *= 2;
    exponent -= 1;
  }
  const s = (x - 1) / (x + 1);
  return exponent * LN2 + 2 * (s * horner(ATANH, s * s));
}

// The standard normal's value at probability q + 1/2.
function inverse(q) {
  const p = q + 0.5;
  if (Math.abs(q) <= 0.425) {
    const r = 0.180625 - q * q;
    return q * (horner(CENTRE_TOP, r) / horner(CENTRE_BOTTOM, r));
  }
  const r = Math.sqrt(-log(Math.min(p, 1 - p))) - 1.6;
  const value = horner(TAIL_TOP, r) / horner(TAIL_BOTTOM, r);
  return q < 0 ? -value : value;
}

// The labels of a conditional generator's images, from the shares in the file's contract.
export function labels(seed, first, count, shares) {
  const key = [Number(seed & 0xffffffffn), Number(seed >> 32n)];
  const last = shares.findLastIndex((share) => share > 0);
  return Array.from({ length: count }, (_, row) => {
    const index = first + BigInt(row);
    const counter = [0, Number(index & 0xffffffffn), Number(index >> 32n), 1];
    const place = (philox(counter, key)[0] + 0.5) / 4294967296;
    let [label, end] = [0, shares[0]];
    while (label < last && place >= end) end += shares[++label];
    return label;
  });
}

// The share of the distribution within ±truncation.
function shareWithin(truncation) {
  let [low, high] = [0, 1];
  for (let i = 0; i < 60; i++) {
    const middle = 0.5 * (low + high);
    if (inverse(0.5 * middle) < truncation) low = middle;
    else high = middle;
  }
  return low;
}

export function normal(word, kept = 1) {
  return Math.fround(inverse(((word + 0.5) / 4294967296 - 0.5) * kept));
}

// Images first .. first + count - 1 of a seed (both BigInt): float32, row by row.
export function latents(seed, first, count, dim, truncation = null) {
  const kept = truncation === null ? 1 : shareWithin(truncation);
  const result = new Float32Array(count * dim);
  const key = [Number(seed & 0xffffffffn), Number(seed >> 32n)];
  for (let row = 0; row < count; row++) {
    const index = first + BigInt(row);
    for (let block = 0; block * 4 < dim; block++) {
      const counter = [block, Number(index & 0xffffffffn), Number(index >> 32n), 0];
      const words = philox(counter, key);
      for (let j = 0; j < 4 && block * 4 + j < dim; j++) {
        result[row * dim + block * 4 + j] = normal(words[j], kept);
      }
    }
  }
  return result;
}

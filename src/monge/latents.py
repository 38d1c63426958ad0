"""Latents that any language can draw again: row i of seed s depends on (s, i) and nothing else.

Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") turns the counter
(block, index, 0) under the key s into uniform words; Wichura's AS 241 (1988) turns each into a
standard normal. Only integer operations and the correctly rounded float64 + − × ÷ √ are used, in a
fixed order, so the float32 results are the same bits everywhere: docs/reference/latents.md.

For a few rows a call of numpy costs more than its work: hence whole arrays, changed in place, and
constants that are arrays already.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monge.errors import InputError

DISTRIBUTION = "standard normal, monge latents v1"
MAX_DIM = 65_536
MIN_TRUNCATION, MAX_TRUNCATION = 0.01, 6.0  # nothing is drawn beyond 6.34 anyway

Constants = tuple[NDArray[np.float64], ...]


def _constants(*values: float) -> Constants:
    return tuple(np.array(value) for value in values)


_MASK = np.array(0xFFFFFFFF, np.uint64)
_WORD = np.array(32, np.uint64)
_MULTIPLIERS = np.array([[0xD2511F53], [0xCD9E8D57]], np.uint64)  # of x0 and of x2
_KEY_STEPS = np.arange(10, dtype=np.uint64) * np.array([[0x9E3779B9], [0xBB67AE85]], np.uint64)
_IN_ORDER = np.array([0, 2, 1, 3])

# AS 241, PPND16, highest power first: the centre (|p − 1/2| <= 0.425) and the tail. Wichura's third
# region, √(−ln p) > 5, is out of reach: p is never below 2^-33, where √(−ln p) = 4.79.
_CENTRE_TOP = _constants(
    2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4,
    4.5921953931549871457e4, 1.3731693765509461125e4, 1.9715909503065514427e3,
    1.3314166789178437745e2, 3.3871328727963666080e0,
)  # fmt: skip
_CENTRE_BOTTOM = _constants(
    5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4,
    2.1213794301586595867e4, 5.3941960214247511077e3, 6.8718700749205790830e2,
    4.2313330701600911252e1, 1.0,
)  # fmt: skip
_TAIL_TOP = _constants(
    7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
    1.27045825245236838258e0, 3.64784832476320460504e0, 5.76949722146069140550e0,
    4.63033784615654529590e0, 1.42343711074968357734e0,
)  # fmt: skip
_TAIL_BOTTOM = _constants(
    1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2,
    1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940e0,
    2.05319162663775882187e0, 1.0,
)  # fmt: skip
_LN2, _SQRT_HALF = _constants(0.6931471805599453, 0.7071067811865476)
_ATANH = _constants(*(1.0 / k for k in range(23, 0, -2)))  # atanh(s)/s = 1 + s²/3 + … + s²²/23
_HALF, _ONE, _TWO, _WORDS = _constants(0.5, 1.0, 2.0, 2.0**32)
_MIDDLE, _EDGE, _NEAREST = _constants(0.180625, 0.425, 1.6)

# Words drawn at a time are bounded: what lies between stays in the processor's cache, and is of a
# size that the allocator keeps instead of asking the system anew each time.
_WORDS_AT_A_TIME = 1 << 13


def latents(
    seed: int, first: int, count: int, dim: int, truncation: float | None = None
) -> NDArray[np.float32]:
    """Draw the latents of images first .. first + count − 1 of a seed: float32 [count, dim].

    `truncation` t restricts the normal to |z| <= t (Brock et al. 2019, "the truncation trick"):
    likelier images, less varied. Seeds and indices run from 0 to 2^64 − 1. Raises InputError
    outside of that.
    """
    _check(seed, first, count, dim)
    kept = 1.0 if truncation is None else share_within(truncation)
    indices = np.arange(count, dtype=np.uint64)
    if count:
        indices += np.uint64(first)
    return latents_of(np.full(count, seed, np.uint64), indices, np.full(count, kept), dim)


def latents_of(
    seeds: NDArray[np.uint64], indices: NDArray[np.uint64], kept: NDArray[np.float64], dim: int
) -> NDArray[np.float32]:
    """Draw image indices[r] of seeds[r] for each row r, all at once: float32 [rows, dim].

    `kept` is 1 or, for a truncation, the `share_within` it.
    """
    count, blocks = len(seeds), -(-dim // 4)
    block = np.arange(blocks, dtype=np.uint64)
    low, high, key = indices & _MASK, indices >> _WORD, (seeds & _MASK, seeds >> _WORD)
    result = np.empty((count, blocks, 4), np.float32)
    rows = max(1, _WORDS_AT_A_TIME // (4 * blocks))
    for start in range(0, count, rows):
        part = slice(start, start + rows), None
        words = philox((block, low[part], high[part], 0), (key[0][part], key[1][part]))
        result[part[0]] = normal(words, kept[part]).transpose(1, 2, 0)
    return np.ascontiguousarray(result.reshape(count, 4 * blocks)[:, :dim])


def philox(counter: tuple[Any, Any, Any, Any], key: tuple[Any, Any]) -> NDArray[np.uint64]:
    """Philox4x32-10 of broadcastable counters and keys: uint64 [4, ...] holding 32-bit words."""
    shape = np.broadcast(*counter, *key).shape
    words, keys = np.empty((4, *shape), np.uint64), np.empty((10, 2, *shape), np.uint64)
    words[0], words[2], words[1], words[3] = counter  # x0 and x2 side by side, x1 and x3
    for i, word in enumerate(key):
        keys[:, i] = np.add.outer(_KEY_STEPS[i], np.asarray(word, np.uint64)) & _MASK
    flat = words.reshape(4, -1)
    even, odd, (x0, x2, x1, x3) = flat[:2], flat[2:], flat
    factors, product = np.empty_like(even), np.empty_like(even)
    factors[:] = _MULTIPLIERS
    product0, product2 = product
    times, shift, both, xor = np.multiply, np.right_shift, np.bitwise_and, np.bitwise_xor
    for round_key in keys.reshape(10, 2, -1):
        times(even, factors, product)
        shift(product2, _WORD, x0)
        shift(product0, _WORD, x2)
        xor(even, odd, even)
        xor(even, round_key, even)
        both(product2, _MASK, x1)
        both(product0, _MASK, x3)
    in_order: NDArray[np.uint64] = words[_IN_ORDER]
    return in_order


def normal(words: NDArray[np.uint64], kept: Any = 1.0) -> NDArray[np.float64]:
    """Turn 32-bit words into standard normals, by the inverse distribution at (word + ½) / 2^32.

    `kept` is the share of the distribution, around its middle, that they are drawn from.
    """
    q = words.astype(np.float64, order="C")
    q += _HALF
    q /= _WORDS
    q -= _HALF
    q *= kept
    return _inverse(q)


def _inverse(q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the standard normal's value at probability q + ½, for |q| <= ½ − 2^-33.

    Relative error about 1e-15 (AS 241, PPND16); every operation is exact or correctly rounded.
    """
    r = q * q
    np.subtract(_MIDDLE, r, r)
    result = _horner(_CENTRE_TOP, r)
    result /= _horner(_CENTRE_BOTTOM, r)
    result *= q
    tail = np.flatnonzero(np.abs(q) > _EDGE)
    q = q.ravel()[tail]
    p = q + _HALF
    r = _log(np.minimum(p, _ONE - p))
    np.sqrt(np.negative(r, r), r)
    r -= _NEAREST
    value = _horner(_TAIL_TOP, r)
    value /= _horner(_TAIL_BOTTOM, r)
    result.ravel()[tail] = np.copysign(value, q, value)
    return result


def share_within(truncation: float) -> float:
    """Give the share of the standard normal within ±truncation, a number from 0.01 to 6.

    Found by halving, in a fixed number of steps, from the inverse that draws the latents: the error
    function is rounded differently by each language.
    """
    if isinstance(truncation, bool) or not isinstance(truncation, int | float):
        raise InputError(f"truncation must be a number, got {truncation!r}.")
    if not MIN_TRUNCATION <= truncation <= MAX_TRUNCATION:
        raise InputError(
            f"truncation must be from {MIN_TRUNCATION} to {MAX_TRUNCATION}, got {truncation}."
        )
    return _share_within(float(truncation))


@lru_cache(1024)
def _share_within(truncation: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        if float(_inverse(np.array([0.5 * middle]))[0]) < truncation:
            low = middle
        else:
            high = middle
    return low


def slerp(a: NDArray[Any], b: NDArray[Any], t: Any) -> NDArray[np.float32]:
    """Spherical interpolation from a to b [..., dim] at t [...] in 0..1 (Shoemake 1985).

    Between (nearly) parallel or opposite vectors, where the great circle is not defined, linear.
    Unlike latents, this uses sines: results may differ in the last bit between machines.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    t = np.asarray(t, np.float64)[..., None]
    lengths = [np.linalg.norm(v, axis=-1, keepdims=True) for v in (a, b)]
    unit_a, unit_b = (v / np.where(n > 0, n, 1.0) for v, n in zip((a, b), lengths, strict=True))
    # Kahan's angle: unlike the arc cosine it stays exact for small and for nearly straight angles.
    angle = 2.0 * np.arctan2(
        np.linalg.norm(unit_a - unit_b, axis=-1, keepdims=True),
        np.linalg.norm(unit_a + unit_b, axis=-1, keepdims=True),
    )
    sine = np.sin(angle)
    straight = (sine < 1e-6) | (lengths[0] == 0) | (lengths[1] == 0)
    divisor = np.where(straight, 1.0, sine)
    weight_a = np.where(straight, 1.0 - t, np.sin((1.0 - t) * angle) / divisor)
    weight_b = np.where(straight, t, np.sin(t * angle) / divisor)
    return np.asarray(weight_a * a + weight_b * b, np.float32)


def _check(seed: int, first: int, count: int, dim: int) -> None:
    if not 0 <= seed < 2**64:
        raise InputError(f"seed must be a whole number from 0 to 2^64 - 1, got {seed}.")
    if count < 0:
        raise InputError(f"the number of latents must be at least 0, got {count}.")
    if first < 0 or first + count > 2**64:
        raise InputError(
            f"image indices must lie from 0 to 2^64 - 1, got {count} from index {first} on."
        )
    if not 1 <= dim <= MAX_DIM:
        raise InputError(f"the latent dimension must be from 1 to {MAX_DIM}, got {dim}.")


def _log(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Natural logarithm by x = m·2^e, ln x = e·ln 2 + 2·atanh((m − 1)/(m + 1)), m in [√½, √2)."""
    m, e = np.frexp(x)  # exact
    low = m < _SQRT_HALF
    m = np.ldexp(m, low, m)
    s = m - _ONE
    s /= np.add(m, _ONE, m)
    value = _horner(_ATANH, s * s)
    value *= s
    value *= _TWO
    value += np.multiply(e - low, _LN2, m)
    return value


def _horner(coefficients: Constants, x: NDArray[np.float64]) -> NDArray[np.float64]:
    value = x * coefficients[0]
    for coefficient in coefficients[1:-1]:
        value += coefficient
        value *= x
    value += coefficients[-1]
    return value

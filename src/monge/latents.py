"""Latents that any language can draw again: row i of seed s depends on (s, i) and nothing else.

Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") turns the counter
(block, index, 0) under the key s into uniform words; Wichura's AS 241 (1988) turns each into a
standard normal. Only integer operations and the correctly rounded float64 + − × ÷ √ are used, in a
fixed order, so the float32 results are the same bits everywhere: docs/reference/latents.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from monge.errors import InputError

DISTRIBUTION = "standard normal, monge latents v1"
MAX_DIM = 65_536
MIN_TRUNCATION, MAX_TRUNCATION = 0.01, 6.0  # nothing is drawn beyond 6.34 anyway

_MASK = np.uint64(0xFFFFFFFF)
_WORD = np.uint64(32)
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)

# AS 241, PPND16, highest power first: the centre (|p − 1/2| <= 0.425) and the tail. Wichura's third
# region, √(−ln p) > 5, is out of reach: p is never below 2^-33, where √(−ln p) = 4.79.
_CENTRE_TOP = (
    2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4,
    4.5921953931549871457e4, 1.3731693765509461125e4, 1.9715909503065514427e3,
    1.3314166789178437745e2, 3.3871328727963666080e0,
)  # fmt: skip
_CENTRE_BOTTOM = (
    5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4,
    2.1213794301586595867e4, 5.3941960214247511077e3, 6.8718700749205790830e2,
    4.2313330701600911252e1, 1.0,
)  # fmt: skip
_TAIL_TOP = (
    7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
    1.27045825245236838258e0, 3.64784832476320460504e0, 5.76949722146069140550e0,
    4.63033784615654529590e0, 1.42343711074968357734e0,
)  # fmt: skip
_TAIL_BOTTOM = (
    1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2,
    1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940e0,
    2.05319162663775882187e0, 1.0,
)  # fmt: skip
_LN2 = 0.6931471805599453
_SQRT_HALF = 0.7071067811865476
_ATANH = tuple(1.0 / k for k in range(23, 0, -2))  # atanh(s)/s = 1 + s²/3 + s⁴/5 + … + s²²/23

# Rows drawn at a time are bounded so that the intermediate words stay in the processor's cache.
_WORDS_AT_A_TIME = 1 << 15


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
    result = np.empty((count, dim), np.float32)
    rows = max(1, _WORDS_AT_A_TIME // dim)
    for start in range(0, count, rows):
        part = result[start : start + rows]
        part[:] = normal(_row_words(seed, first + start, len(part), dim), kept)
    return result


def philox(
    counter: tuple[Any, Any, Any, Any], key: tuple[int, int]
) -> tuple[NDArray[np.uint64], ...]:
    """Philox4x32-10 of broadcastable counters: four uint64 arrays holding 32-bit words."""
    x0, x1, x2, x3 = (np.asarray(word, np.uint64) for word in counter)
    k0, k1 = key
    for _ in range(10):
        high, low = _MULTIPLIERS[0] * x0, _MULTIPLIERS[1] * x2
        x0, x1, x2, x3 = (
            (low >> _WORD) ^ x1 ^ np.uint64(k0),
            low & _MASK,
            (high >> _WORD) ^ x3 ^ np.uint64(k1),
            high & _MASK,
        )
        k0 = (k0 + _KEY_STEPS[0]) & 0xFFFFFFFF
        k1 = (k1 + _KEY_STEPS[1]) & 0xFFFFFFFF
    return x0, x1, x2, x3


def normal(words: NDArray[np.uint64], kept: float = 1.0) -> NDArray[np.float64]:
    """Turn 32-bit words into standard normals, by the inverse distribution at (word + ½) / 2^32.

    `kept` is the share of the distribution, around its middle, that they are drawn from.
    """
    return _inverse(((words.astype(np.float64) + 0.5) / 4294967296.0 - 0.5) * kept)


def _inverse(q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the standard normal's value at probability q + ½, for |q| <= ½ − 2^-33.

    Relative error about 1e-15 (AS 241, PPND16); every operation is exact or correctly rounded.
    """
    p = q + 0.5
    r = 0.180625 - q * q
    result = q * (_horner(_CENTRE_TOP, r) / _horner(_CENTRE_BOTTOM, r))
    tail = np.abs(q) > 0.425
    p, q = p[tail], q[tail]
    r = np.sqrt(-_log(np.minimum(p, 1.0 - p))) - 1.6
    result[tail] = np.copysign(_horner(_TAIL_TOP, r) / _horner(_TAIL_BOTTOM, r), q)
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


def _row_words(seed: int, first: int, count: int, dim: int) -> NDArray[np.uint64]:
    """Draw the 32-bit words of some rows: uint64 [count, dim]."""
    index = (np.arange(count, dtype=np.uint64) + np.uint64(first))[:, None]
    block = np.arange(-(-dim // 4), dtype=np.uint64)[None, :]
    words = philox((block, index & _MASK, index >> _WORD, 0), (seed & 0xFFFFFFFF, seed >> 32))
    return np.stack(words, axis=-1).reshape(count, -1)[:, :dim]


def _log(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Natural logarithm by x = m·2^e, ln x = e·ln 2 + 2·atanh((m − 1)/(m + 1)), m in [√½, √2)."""
    m, e = np.frexp(x)  # exact
    low = m < _SQRT_HALF
    m = np.where(low, 2.0 * m, m)
    e = e - low
    s = (m - 1.0) / (m + 1.0)
    return e * _LN2 + 2.0 * (s * _horner(_ATANH, s * s))


def _horner(coefficients: tuple[float, ...], x: NDArray[np.float64]) -> NDArray[np.float64]:
    value = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value

"""Words that depend on a counter and a key alone, and the standard normals that they stand for.

Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") and Wichura's
AS 241 (1988), by integer operations and the correctly rounded float64 + − × ÷ √ in a fixed order:
the same bits everywhere. docs/reference/latents.md has all of it.

For a few rows a call of numpy costs more than its work, and for many rows fresh memory costs more
than the arithmetic: hence whole arrays, changed in place, in memory that is used again.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Words = NDArray[np.uint64]
Counter = tuple[Any, Any, Any, Any]
Key = tuple[Any, Any]
Constants = tuple[Floats, ...]

AT_A_TIME = 1 << 15
"""Words that had better be drawn at a time: what they need is kept, and stays in the cache."""

_FEW = 2048  # words of even number for which the keys are spread out


def _constants(*values: float) -> Constants:
    return tuple(np.array(value) for value in values)


_MASK = np.array(0xFFFFFFFF, np.uint64)
_WORD = np.array(32, np.uint64)
_OF_X0, _OF_X2 = np.array(0xD2511F53, np.uint64), np.array(0xCD9E8D57, np.uint64)
_KEY_STEPS = np.arange(10, dtype=np.uint64) * np.array([[0x9E3779B9], [0xBB67AE85]], np.uint64)

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
_HALF, _ONE, _TWO = _constants(0.5, 1.0, 2.0)
_MIDDLE, _EDGE, _NEAREST = _constants(0.180625, 0.425, 1.6)
_CENTRE, _PER_WORD = _constants(2.0**31 - 0.5, 2.0**-32)


def philox(counter: Counter, key: Key) -> Words:
    """Philox4x32-10 of broadcastable counters and keys: uint64 [4, ...] holding 32-bit words.

    The key's two words are numbers or of one shape, of as many dimensions as the counter's.
    """
    shape = np.broadcast(*counter, *key).shape
    words = _philox(counter, key, shape, _room(4 * math.prod(shape)))
    return np.array(words).reshape(4, *shape)


def normals(counter: Counter, key: Key, kept: Any = 1.0) -> Floats:
    """Give normals for the words of `philox`: [4, ...], in memory that the next call works in.

    `kept` is the share of the distribution, around its middle, that they are drawn from.
    """
    shape = np.broadcast(*counter, *key).shape
    room = _room(4 * math.prod(shape))
    return _normal(_philox(counter, key, shape, room), kept, room).reshape(4, *shape)


def normal(words: Words, kept: Any = 1.0) -> Floats:
    """Turn 32-bit words into standard normals, by the inverse distribution at (word + ½) / 2^32."""
    return np.array(_normal(words, kept, _room(words.size)))


def inverse(q: Floats) -> Floats:
    """Give the standard normal's value at probability q + ½, for |q| <= ½ − 2^-33.

    Relative error about 1e-15 (AS 241, PPND16); every operation is exact or correctly rounded.
    """
    return _inverse(q.reshape(-1), *np.empty((3, q.size))).reshape(q.shape)


class _Memory(threading.local):
    """Memory that each thread has of its own."""

    def __init__(self) -> None:
        self.rows = np.empty((4, AT_A_TIME))


_memory = _Memory()


def _room(size: int) -> Floats:
    """Four rows of so many values, to work in."""
    return _memory.rows[:, :size] if size <= AT_A_TIME else np.empty((4, size))


def _philox(counter: Counter, key: Key, shape: tuple[int, ...], room: Floats) -> Words:
    """Word number 2i + j at [i, j]. While they are mixed, those of even number lie side by side."""
    words = room[3].view(np.uint64).reshape(2, 2, *shape)
    words[0, 0], words[1, 0], words[0, 1], words[1, 1] = counter
    even, odd = words.reshape(2, 2, -1)
    product = room[2, : even.size].view(np.uint64).reshape(2, -1)
    (x0, x2), (of_x2, of_x0) = even, product  # each product where its halves are wanted
    keys = _round_keys(key)
    keyed = words[0] if keys[0].size > 2 else even
    if even.size <= _FEW:  # to spread them out takes less than numpy's way of doing without
        keys = np.array(np.broadcast_to(keys, (10, *keyed.shape)))
    for round_key in keys:
        np.multiply(x0, _OF_X0, of_x0)
        np.multiply(x2, _OF_X2, of_x2)
        np.right_shift(product, _WORD, even)
        even ^= odd
        keyed ^= round_key
        np.bitwise_and(product, _MASK, odd)
    mixed: Words = words.swapaxes(0, 1)
    return mixed


def _round_keys(key: Key) -> Words:
    """Make both words of each round: [10, 2, ...], or [10, 2, 1] where all have the same."""
    first, second = (np.asarray(word, np.uint64) for word in key)
    keys = np.empty((10, 2, *first.shape), np.uint64)
    np.add.outer(_KEY_STEPS[0], first, out=keys[:, 0])
    np.add.outer(_KEY_STEPS[1], second, out=keys[:, 1])
    keys &= _MASK
    return keys.reshape(10, 2, 1) if first.size == 1 else keys


def _normal(words: Words, kept: Any, room: Floats) -> Floats:
    q = room[0].reshape(words.shape)
    np.subtract(words, _CENTRE, q)  # exact, as is the next: (word + ½) / 2^32 − ½
    q *= _PER_WORD
    q *= kept
    return _inverse(*room).reshape(words.shape)


def _inverse(q: Floats, r: Floats, top: Floats, bottom: Floats) -> Floats:
    """The same for q in a row, in given memory; the result is in `top`."""
    np.multiply(q, q, r)
    np.subtract(_MIDDLE, r, r)
    _horner(_CENTRE_TOP, r, top)
    _horner(_CENTRE_BOTTOM, r, bottom)
    top /= bottom
    top *= q
    tail = np.flatnonzero(np.abs(q, r) > _EDGE)
    q = q[tail]
    p = q + _HALF
    r = _log(np.minimum(p, _ONE - p))
    np.sqrt(np.negative(r, r), r)
    r -= _NEAREST
    value = _horner(_TAIL_TOP, r, np.empty_like(r))
    value /= _horner(_TAIL_BOTTOM, r, p)
    top[tail] = np.copysign(value, q, value)
    return top


def _log(x: Floats) -> Floats:
    """Natural logarithm by x = m·2^e, ln x = e·ln 2 + 2·atanh((m − 1)/(m + 1)), m in [√½, √2)."""
    m, e = np.frexp(x)  # exact
    low = m < _SQRT_HALF
    m = np.ldexp(m, low, m)
    s = m - _ONE
    s /= np.add(m, _ONE, m)
    value = _horner(_ATANH, s * s, m)
    value *= s
    value *= _TWO
    value += np.multiply(e - low, _LN2, s)
    return value


def _horner(coefficients: Constants, x: Floats, value: Floats) -> Floats:
    np.multiply(x, coefficients[0], value)
    for coefficient in coefficients[1:-1]:
        value += coefficient
        value *= x
    value += coefficients[-1]
    return value

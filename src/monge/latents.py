"""Latents that any language can draw again: row i of seed s depends on (s, i) and nothing else.

Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") turns the counter
(block, index, 0) under the key s into uniform words; Wichura's AS 241 (1988) turns each into a
standard normal. Only integer operations and the correctly rounded float64 + − × ÷ √ are used, in a
fixed order, so the float32 results are the same bits everywhere: docs/reference/latents.md.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monge.errors import InputError
from monge.normals import AT_A_TIME, inverse, normals

DISTRIBUTION = "standard normal, monge latents v1"
MAX_DIM = 65_536
MIN_TRUNCATION, MAX_TRUNCATION = 0.01, 6.0  # nothing is drawn beyond 6.34 anyway

_LOW, _WORD = np.uint64(0xFFFFFFFF), np.uint64(32)


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
    if count and (seeds == seeds[0]).all():
        seeds = seeds[:1]  # one key for all is quicker
    block, rows = np.arange(blocks, dtype=np.uint64), max(1, AT_A_TIME // (4 * blocks))
    result = np.empty((count, blocks, 4), np.float32)
    for start in range(0, count, rows):
        part = slice(start, start + rows)
        index, seed = indices[part, None], seeds[part if len(seeds) > 1 else slice(1), None]
        counter = (block, index & _LOW, index >> _WORD, 0)
        values = normals(counter, (seed & _LOW, seed >> _WORD), kept[part, None])
        result[part] = values.transpose(1, 2, 0)
    return np.ascontiguousarray(result.reshape(count, 4 * blocks)[:, :dim])


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
        if float(inverse(np.array([0.5 * middle]))[0]) < truncation:
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

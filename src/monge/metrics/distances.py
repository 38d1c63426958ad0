"""Euclidean distances between all pairs of two sets, and nearest neighbours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# A product of centred bytes is at most 2^14, so a sum of 2^10 of them stays within the 2^24 up to
# which float32 counts whole numbers: a fast float32 matrix product that does not round at all.
_EXACT_COLUMNS = 2**10


def squared_distances(x: NDArray[Any], y: NDArray[Any]) -> Floats:
    """Squared Euclidean distances of all pairs: [n, d], [m, d] -> float64 [n, m].

    Exact for uint8, in units of the byte values (0..255). Other types are computed in float64 by
    |x|² − 2xy + |y|² around the mean of y, never below 0.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"expected two sets [n, d] of equal width, got {x.shape} and {y.shape}")
    if x.dtype == y.dtype == np.uint8:
        total = np.zeros((len(x), len(y)))
        for start in range(0, x.shape[1], _EXACT_COLUMNS):
            columns = slice(start, start + _EXACT_COLUMNS)
            total += _expanded(_centred(x[:, columns]), _centred(y[:, columns]))
        return total
    centre = y.mean(axis=0, dtype=np.float64)
    return np.maximum(_expanded(x - centre, y - centre), 0.0)


def _centred(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return images.astype(np.float32) - np.float32(128.0)


def _expanded(a: NDArray[Any], b: NDArray[Any]) -> Floats:
    """|a|² − 2ab + |b|², the sum taken in float64."""
    product: Floats = (a @ b.T).astype(np.float64)
    product *= -2.0
    product += np.einsum("ij,ij->i", a, a).astype(np.float64)[:, None]
    product += np.einsum("ij,ij->i", b, b).astype(np.float64)[None, :]
    return product


def nearest(
    queries: NDArray[Any], pool: Iterable[NDArray[Any]], k: int = 1
) -> tuple[NDArray[np.int64], Floats]:
    """Find the k nearest members of a pool in blocks [b, d], for each query of [n, d].

    Returns indices int64 [n, k] into the joined blocks and Euclidean distances float64 [n, k] in
    the units of the arrays, nearest first. Raises ValueError when the pool has fewer than k
    members.
    """
    indices = np.empty((len(queries), 0), np.int64)
    squares = np.empty((len(queries), 0))
    seen = 0
    for block in pool:
        numbers = np.arange(seen, seen + len(block))
        squares = np.hstack([squares, squared_distances(queries, block)])
        indices = np.hstack([indices, np.broadcast_to(numbers, (len(queries), len(block)))])
        seen += len(block)
        if squares.shape[1] > k:
            best = np.argpartition(squares, k - 1, axis=1)[:, :k]
            squares = np.take_along_axis(squares, best, axis=1)
            indices = np.take_along_axis(indices, best, axis=1)
    if seen < k:
        raise ValueError(f"the pool has {seen} members, fewer than the {k} neighbours asked for")
    order = np.lexsort((indices, squares), axis=1)
    return np.take_along_axis(indices, order, axis=1), np.sqrt(
        np.take_along_axis(squares, order, axis=1)
    )

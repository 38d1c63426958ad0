"""Wasserstein-1 distances between two sets of points: exact, and sliced."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from monge.metrics.distances import squared_distances

# Numbers held at once in float64 (32 MiB): bytes become float64 block by block.
_BLOCK = 2**22


def wasserstein1(x: NDArray[Any], y: NDArray[Any]) -> float:
    """Exact Wasserstein-1 distance between two equal-sized sets [n, d], Euclidean ground cost.

    Between uniform measures on n points each, an optimal plan is a matching (Birkhoff; Peyré and
    Cuturi 2019, "Computational optimal transport", proposition 2.1), so an assignment solver gives
    min over matchings of the mean distance. In the units of the arrays. O(n³) time, O(n²) memory.
    """
    if len(x) != len(y) or not len(x):
        raise ValueError(f"the sets must have one size above 0, got {len(x)} and {len(y)}")
    from scipy.optimize import linear_sum_assignment

    cost = np.sqrt(squared_distances(x, y))
    rows, columns = linear_sum_assignment(cost)
    return float(cost[rows, columns].mean())


def directions(generator: np.random.Generator, count: int, dimension: int) -> NDArray[np.float64]:
    """Uniform random unit vectors [count, dimension]; drawn in parts they are the same ones."""
    normal = generator.standard_normal((count, dimension))
    unit: NDArray[np.float64] = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    return unit


def sliced_wasserstein1(x: NDArray[Any], y: NDArray[Any], projections: int, seed: int) -> float:
    """Wasserstein-1 between one-dimensional projections of [n, d] and [m, d], averaged over them.

    Directions are seeded and uniform on the sphere (Bonneel et al. 2015, "Sliced and Radon
    Wasserstein barycenters of measures"). Unequal sizes are exact too: the two quantile functions
    are compared on their joint steps. In the units of the arrays.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or not (len(x) and len(y)):
        raise ValueError(f"expected two sets [n, d] of equal width, got {x.shape} and {y.shape}")
    steps_x, steps_y, weights = _joint_steps(len(x), len(y))
    generator = np.random.default_rng(seed)
    at_a_time = max(1, min(64, _BLOCK // x.shape[1]))
    total = 0.0
    for start in range(0, projections, at_a_time):
        along = directions(generator, min(at_a_time, projections - start), x.shape[1])
        sorted_x, sorted_y = _sorted_projections(x, along), _sorted_projections(y, along)
        total += float((weights @ np.abs(sorted_x[steps_x] - sorted_y[steps_y])).sum())
    return total / projections


def _joint_steps(
    n: int, m: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """On each step of the merged quantile grid: which order statistic of either set, what weight.

    Counted in units of 1/(n·m), in whole numbers: no step is lost or doubled by rounding.
    """
    ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)
    starts = np.concatenate([[0], ends[:-1]])
    return starts // m, starts // n, (ends - starts) / (n * m)


def _sorted_projections(points: NDArray[Any], along: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each column the sorted projections on one direction: [n, d] -> float64 [n, directions]."""
    projected = np.empty((len(points), len(along)))
    at_a_time = max(1, _BLOCK // points.shape[1])
    for start in range(0, len(points), at_a_time):
        rows = slice(start, start + at_a_time)
        projected[rows] = points[rows].astype(np.float64) @ along.T
    projected.sort(axis=0)
    return projected

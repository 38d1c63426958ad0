"""Maximum mean discrepancy: how far apart two sets are to the eyes of a kernel.

Gretton et al. 2012, "A kernel two-sample test". All estimates are the unbiased U-statistic, so
they are around 0, below as well as above, when both sets come from one distribution. Averaged over
disjoint subsets, as a judgement does, they are the block estimate of Zaremba et al. 2013.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monge.metrics.distances import squared_distances

Floats = NDArray[np.float64]
Kernel = Callable[[NDArray[Any], NDArray[Any]], Floats]
"""[n, d], [m, d] -> float64 [n, m]."""

_ROWS = 1024
IMQ_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def median_square(x: NDArray[Any], most: int = 1000) -> float:
    """Median squared distance between different members of a set (of its first `most`).

    The usual yardstick of a kernel's width. Take it from real images only: a width that follows the
    generated ones would forgive them. 1 where most members are copies of each other.
    """
    x = x[:most]
    return float(np.median(squared_distances(x, x)[np.triu_indices(len(x), 1)])) or 1.0


def rbf(square: float) -> Kernel:
    """exp(−|x − y|² / 2σ²) with σ² = `square`: sees every difference of two distributions."""
    return lambda x, y: np.exp(squared_distances(x, y) / (-2.0 * square))


def inverse_multiquadratic(square: float) -> Kernel:
    """Σ s C / (s C + |x − y|²) over seven scales s, with C = `square`.

    The kernel of the Wasserstein auto-encoder, whose heavy tails still see points that are far off
    (Tolstikhin et al. 2018, section 4).
    """

    def kernel(x: NDArray[Any], y: NDArray[Any]) -> Floats:
        distances = squared_distances(x, y)
        widths = [scale * square for scale in IMQ_SCALES]
        total: Floats = np.sum([width / (width + distances) for width in widths], axis=0)
        return total

    return kernel


def cubic(x: NDArray[Any], y: NDArray[Any]) -> Floats:
    """(x·y / d + 1)³, on Inception's features the kernel of KID (Bińkowski et al. 2018)."""
    product: Floats = x.astype(np.float64) @ y.astype(np.float64).T
    cube: Floats = (product / x.shape[1] + 1.0) ** 3
    return cube


def negative_distance(x: NDArray[Any], y: NDArray[Any]) -> Floats:
    """−|x − y|: the discrepancy of this kernel is the energy distance (Sejdinovic et al. 2013)."""
    return -np.sqrt(squared_distances(x, y))


def mmd_squared(x: NDArray[Any], y: NDArray[Any], kernel: Kernel) -> float:
    """MMD² between [n, d] and [m, d], unbiased: mean k(x, x') + mean k(y, y') − 2 mean k(x, y).

    The first two means leave a point's pair with itself out. In blocks of rows, so memory is
    O(n + m). Raises ValueError below two points a side.
    """
    n, m = len(x), len(y)
    if min(n, m) < 2:
        raise ValueError(f"an unbiased estimate needs 2 points a side, got {n} and {m}")
    within_x = _total(x, x, kernel) - _diagonal(x, kernel)
    within_y = _total(y, y, kernel) - _diagonal(y, kernel)
    across = _total(x, y, kernel)
    return within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2.0 * across / (n * m)


def permutation_p_value(
    x: NDArray[Any], y: NDArray[Any], kernel: Kernel, permutations: int, seed: int
) -> float:
    """Estimate how often a random split of all points has as large an MMD²; for any n, m.

    (1 + how many) / (1 + permutations), so never 0. Holds one matrix [n + m, n + m].
    """
    both, n = np.concatenate([x, y]), len(x)
    m = len(y)
    matrix = kernel(both, both)
    np.fill_diagonal(matrix, 0.0)
    generator = np.random.default_rng(seed)
    first = np.zeros((n + m, permutations + 1))
    first[:n, 0] = 1.0
    for column in range(1, permutations + 1):
        first[generator.permutation(n + m)[:n], column] = 1.0
    to_first = matrix @ first
    xx = np.einsum("ij,ij->j", first, to_first)
    x_all = to_first.sum(axis=0)
    xy = x_all - xx
    yy = matrix.sum() - x_all - xy
    values = xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2.0 * xy / (n * m)
    # Rounding must not tell the split itself from its equals.
    reached = values[1:] >= values[0] - 1e-12 * abs(matrix).mean()
    return float((1 + np.count_nonzero(reached)) / (1 + permutations))


def _total(x: NDArray[Any], y: NDArray[Any], kernel: Kernel) -> float:
    return sum(
        float(kernel(x[i : i + _ROWS], y[j : j + _ROWS]).sum())
        for i in range(0, len(x), _ROWS)
        for j in range(0, len(y), _ROWS)
    )


def _diagonal(x: NDArray[Any], kernel: Kernel) -> float:
    """Σ k(x, x), in blocks small enough that their squares cost nothing."""
    return sum(float(np.trace(kernel(part, part))) for part in np.split(x, range(32, len(x), 32)))

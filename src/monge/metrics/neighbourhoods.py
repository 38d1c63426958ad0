"""Figures made of nearest neighbours: precision and recall, density and coverage, two tests.

All take float or uint8 [n, d] and compare Euclidean distances, some hundred rows at a time: memory
is O(n + m).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monge.metrics.distances import squared_distances

Floats = NDArray[np.float64]
Points = NDArray[Any]

_ROWS = 512

K = 5
"""Neighbours whose distance is the radius of a point's ball (Naeem et al. 2020 use 5)."""


@dataclass(frozen=True)
class Overlap:
    """The mutual cover of two supports; all 1 for the same distribution and many points.

    `precision` and `recall`: share of generated images within the balls of real ones, and of real
    within those of generated (Kynkäänniemi et al. 2019). `density`: how many real balls a
    generated image lies in, over k (may exceed 1). `coverage`: share of real balls that hold a
    generated image (Naeem et al. 2020), which, unlike the first two, one outlier cannot raise.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def overlap(made: Points, real: Points, k: int = K) -> Overlap:
    """Compare the supports of generated [n, d] and real [m, d] images by balls of k neighbours.

    Raises ValueError where a side has no k-th neighbour.
    """
    real_radii, made_radii = _radii(real, k), _radii(made, k)
    inside = np.zeros(len(made))
    reached, covered = np.zeros(len(real), bool), np.zeros(len(real), bool)
    for rows, squares in _squares(made, real):
        in_real = squares <= real_radii[None, :]
        inside[rows] = in_real.sum(axis=1) / k
        covered |= in_real.any(axis=0)
        reached |= (squares <= made_radii[rows, None]).any(axis=0)
    return Overlap(
        precision=float((inside > 0.0).mean()),
        recall=float(reached.mean()),
        density=float(inside.mean()),
        coverage=float(covered.mean()),
    )


def _squares(points: Points, others: Points | None = None) -> Iterator[tuple[slice, Floats]]:
    """Squared distances, some rows at a time; without others, a point's to itself are infinite."""
    for start in range(0, len(points), _ROWS):
        rows = slice(start, min(start + _ROWS, len(points)))
        squares = squared_distances(points[rows], points if others is None else others)
        if others is None:
            squares[np.arange(len(squares)), np.arange(rows.start, rows.stop)] = np.inf
        yield rows, squares


def _radii(points: Points, k: int) -> Floats:
    """Squared distance of each point to its k-th nearest other point."""
    if len(points) <= k:
        raise ValueError(f"{len(points)} points have no {k} neighbours each")
    radii = np.empty(len(points))
    for rows, squares in _squares(points):
        radii[rows] = np.partition(squares, k - 1, axis=1)[:, k - 1]
    return radii


def two_sample_accuracy(made: Points, real: Points) -> float:
    """Share of all points whose nearest other point is of their own set: the 1-NN two-sample test.

    0.5 for two equally large samples of one distribution, 1 for sets apart, near 0 where each
    generated image has a real twin (Lopez-Paz and Oquab 2017, "Revisiting classifier two-sample
    tests"). Raises ValueError unless the sets are equally large: else 0.5 would mean nothing.
    """
    if len(made) != len(real):
        raise ValueError(f"the sets must be equally large, got {len(made)} and {len(real)}")
    points = np.concatenate([made, real])
    mine = np.arange(len(points)) < len(made)
    right = 0
    for rows, squares in _squares(points):
        right += int((mine[squares.argmin(axis=1)] == mine[rows]).sum())
    return right / len(points)


def diversity(points: Points) -> float:
    """Mean distance between different points, in the units of the array: 0 for copies of one."""
    total = 0.0
    for _, squares in _squares(points):
        total += float(np.sqrt(squares[np.isfinite(squares)]).sum())
    return total / (len(points) * (len(points) - 1))


def copying(made: Floats, held_out: Floats) -> tuple[float, float]:
    """Test how often a generated image is nearer to training ones than a held-out one; p-value.

    Both [n]: distances to the nearest training image; equal ones count half. 0.5 is fair, 1 says
    that all are copies. The p-value is that of the one-sided Mann-Whitney test: small says "closer
    to training than it should be" (Meehan et al. 2020, "A non-parametric test to detect
    data-copying in generative models").
    """
    from scipy.stats import mannwhitneyu

    found = mannwhitneyu(made, held_out, alternative="less")
    return 1.0 - float(found.statistic) / (len(made) * len(held_out)), float(found.pvalue)

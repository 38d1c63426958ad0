"""Figures made of nearest neighbours: precision and recall, density and coverage, two tests.

All take float or uint8 [n, d], compare Euclidean distances, and hold matrices [n, n].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monge.metrics.distances import squared_distances

Floats = NDArray[np.float64]
Points = NDArray[Any]

K = 5
"""Neighbours whose distance is the radius of a point's ball (Naeem et al. 2020 use 5)."""


@dataclass(frozen=True)
class Overlap:
    """How far two supports cover each other; all 1 for the same distribution and many points.

    `precision` and `recall`: share of generated images within the balls of real ones, and of real
    within those of generated (Kynkäänniemi et al. 2019). `density`: how many real balls a
    generated image lies in, over k (may exceed 1). `coverage`: share of real balls that hold a
    generated image (Naeem et al. 2020), which, unlike the first two, one outlier cannot raise.
    `inside` [n]: the generated images' own shares of the density, for finding the worst.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    inside: Floats


def overlap(made: Points, real: Points, k: int = K) -> Overlap:
    """Compare the supports of generated [n, d] and real [m, d] images by balls of k neighbours.

    Raises ValueError where a side has no k-th neighbour.
    """
    across = squared_distances(made, real)
    real_radii, made_radii = _radii(real, k), _radii(made, k)
    in_real = across <= real_radii[None, :]
    in_made = across <= made_radii[:, None]
    inside = in_real.sum(axis=1) / k
    return Overlap(
        precision=float(in_real.any(axis=1).mean()),
        recall=float(in_made.any(axis=0).mean()),
        density=float(inside.mean()),
        coverage=float(in_real.any(axis=0).mean()),
        inside=inside,
    )


def _radii(points: Points, k: int) -> Floats:
    """Squared distance of each point to its k-th nearest other point."""
    if len(points) <= k:
        raise ValueError(f"{len(points)} points have no {k} neighbours each")
    squares = squared_distances(points, points)
    np.fill_diagonal(squares, np.inf)
    radii: Floats = np.partition(squares, k - 1, axis=1)[:, k - 1]
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
    squares = squared_distances(points, points)
    np.fill_diagonal(squares, np.inf)
    mine = np.arange(len(points)) < len(made)
    return float((mine[squares.argmin(axis=1)] == mine).mean())


def diversity(points: Points) -> float:
    """Mean distance between different points, in the units of the array: 0 for copies of one."""
    squares = squared_distances(points, points)
    np.fill_diagonal(squares, 0.0)
    return float(np.sqrt(squares).sum() / (len(points) * (len(points) - 1)))


def copying(made: Floats, held_out: Floats) -> tuple[float, float]:
    """How often a generated image is nearer to the training images than a held-out one; p-value.

    Both [n]: distances to the nearest training image; equal ones count half. 0.5 is fair, 1 says
    that all are copies. The p-value is that of the one-sided Mann-Whitney test: small says "closer
    to training than it should be" (Meehan et al. 2020, "A non-parametric test to detect
    data-copying in generative models").
    """
    from scipy.stats import mannwhitneyu

    found = mannwhitneyu(made, held_out, alternative="less")
    return 1.0 - float(found.statistic) / (len(made) * len(held_out)), float(found.pvalue)

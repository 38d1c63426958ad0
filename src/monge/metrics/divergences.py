"""Divergences between distributions on finitely many outcomes, in nats where they have a unit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def kullback_leibler(p: NDArray[Any], q: NDArray[Any]) -> float:
    """Σ p log(p / q): 0 when equal, infinite where q rules out what p allows.

    Both [k], non-negative, scaled to sum 1 here. Raises ValueError when they are no distributions.
    """
    p, q = _distribution(p), _distribution(q)
    seen = p > 0.0  # 0 log 0 = 0
    if (q[seen] == 0.0).any():
        return math.inf
    return float(max((p[seen] * np.log(p[seen] / q[seen])).sum(), 0.0))


def jensen_shannon(p: NDArray[Any], q: NDArray[Any]) -> float:
    """Mean Kullback-Leibler divergence of p and q from their mixture: 0 equal, log 2 disjoint.

    What the original GAN's generator minimises under an optimal discriminator (Goodfellow et al.
    2014, theorem 1); constant, and so without a gradient, where the two do not overlap (Arjovsky
    et al. 2017, example 1).
    """
    p, q = _distribution(p), _distribution(q)
    mixture = (p + q) / 2.0
    return (kullback_leibler(p, mixture) + kullback_leibler(q, mixture)) / 2.0


def total_variation(p: NDArray[Any], q: NDArray[Any]) -> float:
    """Half the sum of absolute differences of two distributions: 0 equal, 1 disjoint."""
    return float(np.abs(_distribution(p) - _distribution(q)).sum() / 2.0)


def levels(images: NDArray[np.uint8]) -> Floats:
    """Share of each grey level in each channel: uint8 [n, C, H, W] -> float64 [C, 256]."""
    counts = [np.bincount(images[:, c].ravel(), minlength=256) for c in range(images.shape[1])]
    shares: Floats = np.stack(counts) / (images.size / images.shape[1])
    return shares


def _distribution(p: NDArray[Any]) -> Floats:
    weights: Floats = np.asarray(p, np.float64)
    total = weights.sum()
    if weights.ndim != 1 or not np.isfinite(total) or total <= 0.0 or weights.min() < 0.0:
        raise ValueError(f"expected non-negative weights [k] with a sum above 0, got {p}")
    scaled: Floats = weights / total
    return scaled

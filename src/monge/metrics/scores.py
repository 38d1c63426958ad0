"""Figures computed from a classifier's probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def classifier_score(probabilities: NDArray[Any]) -> float:
    """Score probabilities [n, classes] from 1 (worst) to the number of classes.

    The exponential of the mean Kullback-Leibler divergence of p(class | image) from its mean.
    The Inception score's formula (Salimans et al. 2016, "Improved techniques for training GANs",
    section 4) on another classifier, hence the other name.
    """
    p = probabilities.astype(np.float64)
    marginal = np.broadcast_to(p.mean(axis=0), p.shape)
    seen = p > 0.0  # 0 log 0 = 0
    ratio = np.divide(p, marginal, out=np.ones_like(p), where=seen)
    return float(np.exp((p * np.log(ratio)).sum(axis=1).mean()))


def class_fractions(labels: NDArray[np.integer[Any]], classes: int) -> Floats:
    """Share of each class: int [n] -> float64 [classes], sum 1."""
    return np.bincount(labels, minlength=classes) / len(labels)

"""Fréchet distance between Gaussians fitted to two sets of features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Gaussian:
    """Mean float64 [d] and unbiased covariance float64 [d, d] of `count` feature vectors."""

    count: int
    mean: Floats
    covariance: Floats

    @cached_property
    def root(self) -> Floats:
        """The covariance's symmetric square root; what rounding left below zero counts as zero."""
        values, vectors = np.linalg.eigh(self.covariance)
        root: Floats = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
        return root


class Moments:
    """Mean and covariance of features that arrive in batches; float64 whatever they come as.

    Batches are merged around their own means (Chan, Golub and LeVeque 1983), so a mean that is
    large against the spread costs no digits, as Σxx' − nμμ' would.
    """

    def __init__(self, dimension: int) -> None:
        self._count = 0
        self._mean = np.zeros(dimension)
        self._scatter = np.zeros((dimension, dimension))

    def add(self, features: NDArray[Any]) -> Moments:
        """Take in [n, d] and return self."""
        if len(features):
            batch = features.astype(np.float64)
            mean = batch.mean(axis=0)
            centred, shift = batch - mean, mean - self._mean
            total = self._count + len(batch)
            self._scatter += centred.T @ centred
            self._scatter += np.outer(shift, shift) * (self._count * len(batch) / total)
            self._mean = self._mean + shift * (len(batch) / total)
            self._count = total
        return self

    def gaussian(self) -> Gaussian:
        """Return what was fitted so far; raises ValueError below two vectors."""
        if self._count < 2:
            raise ValueError(f"a covariance needs at least 2 feature vectors, got {self._count}")
        return Gaussian(self._count, self._mean, self._scatter / (self._count - 1))


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """|μa − μb|² + tr Σa + tr Σb − 2 tr (Σa^½ Σb Σa^½)^½, the squared Wasserstein-2 distance.

    Dowson and Landau 1982, "The Fréchet distance between multivariate normal distributions". The
    last trace is the sum of the roots of eigenvalues, and a and b may change places in it, so that
    only b's root is needed, which a reference has once for all. The product is symmetric, so that
    covariances of lower rank do no harm.
    """
    between = np.linalg.eigvalsh(b.root @ a.covariance @ b.root)  # below zero by rounding alone
    shift = a.mean - b.mean
    spread = np.trace(a.covariance) + np.trace(b.covariance)
    spread -= 2.0 * np.sqrt(np.maximum(between, 0.0)).sum()
    return float(max(shift @ shift + spread, 0.0))


def extrapolated(distances: Mapping[int, float]) -> float:
    """Fréchet distance at infinitely many images, from those at several numbers of images.

    The bias of an estimate falls as 1/n, so a line through (1/n, distance) is read off at 0 (Chong
    and Forsyth 2020, "Effectively unbiased FID and Inception score"). May come out below 0 by its
    noise. Raises ValueError below two different numbers.
    """
    if len(distances) < 2:
        raise ValueError(f"a line needs two numbers of images, got {sorted(distances)}")
    shares = 1.0 / np.array(list(distances), np.float64)
    _, at_zero = np.polyfit(shares, list(distances.values()), 1)
    return float(at_zero)

"""Fréchet distance against closed forms and scipy.linalg.sqrtm; float32 and rank traps."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from monge.metrics.frechet import Gaussian, Moments, extrapolated, frechet_distance


def _fit(x: np.ndarray) -> Gaussian:
    return Moments(x.shape[1]).add(x).gaussian()


def _covariance(seed: int, d: int, rank: int | None = None) -> np.ndarray:
    factor = np.random.default_rng(seed).normal(size=(d, rank or d))
    return factor @ factor.T


def test_agrees_with_a_matrix_square_root() -> None:
    generator = np.random.default_rng(0)
    a = Gaussian(100, generator.normal(size=12), _covariance(1, 12))
    b = Gaussian(100, generator.normal(size=12), _covariance(2, 12))
    root = sqrtm(a.covariance @ b.covariance).real
    reference = np.sum((a.mean - b.mean) ** 2) + np.trace(a.covariance + b.covariance - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(reference, rel=1e-8)


def test_of_commuting_gaussians_is_the_closed_form() -> None:
    """With diagonal covariances: |μa − μb|² + Σ (σa − σb)²."""
    a = Gaussian(10, np.array([0.0, 1.0, 2.0]), np.diag([1.0, 4.0, 9.0]))
    b = Gaussian(10, np.array([3.0, 1.0, -2.0]), np.diag([4.0, 4.0, 1.0]))
    assert frechet_distance(a, b) == pytest.approx(25.0 + 1.0 + 0.0 + 4.0, rel=1e-12)


def test_is_symmetric_and_zero_on_itself() -> None:
    a = Gaussian(10, np.arange(8.0), _covariance(3, 8))
    b = Gaussian(10, np.ones(8), _covariance(4, 8))
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-10)
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-10)


def test_of_rank_deficient_covariances_is_the_closed_form() -> None:
    """Two unit Gaussians on planes that share one axis: 2 + 2 − 2·1 = 2."""
    a = Gaussian(3, np.zeros(5), np.diag([1.0, 1.0, 0.0, 0.0, 0.0]))
    b = Gaussian(3, np.zeros(5), np.diag([0.0, 1.0, 1.0, 0.0, 0.0]))
    assert frechet_distance(a, b) == pytest.approx(2.0, rel=1e-10)
    turned = np.linalg.qr(np.random.default_rng(5).normal(size=(5, 5)))[0]
    a = Gaussian(3, a.mean, turned @ a.covariance @ turned.T)
    b = Gaussian(3, b.mean, turned @ b.covariance @ turned.T)
    assert frechet_distance(a, b) == pytest.approx(2.0, rel=1e-6)


@pytest.mark.parametrize("batch", [1, 7, 64, 1000])
def test_moments_do_not_depend_on_the_batch_size(batch: int) -> None:
    x = np.random.default_rng(6).normal(50.0, 2.0, size=(300, 4))
    moments = Moments(4)
    for start in range(0, 300, batch):
        moments.add(x[start : start + batch])
    fitted = moments.gaussian()
    np.testing.assert_allclose(fitted.mean, x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(fitted.covariance, np.cov(x.T), rtol=1e-10)


def test_moments_of_float32_features_keep_the_digits_that_float32_sums_lose() -> None:
    x = (1000.0 + np.random.default_rng(7).normal(size=(5000, 2))).astype(np.float32)
    wanted = np.cov(x.astype(np.float64).T)
    np.testing.assert_allclose(_fit(x).covariance, wanted, rtol=1e-9)
    mean = x.mean(axis=0)
    naive = x.T @ x / np.float32(len(x)) - np.outer(mean, mean)
    assert np.abs(naive - wanted).max() > 0.01, "the trap no longer shows"


def test_small_samples_are_biased_so_value_and_floor_need_one_size() -> None:
    generator = np.random.default_rng(8)
    reference = _fit(generator.normal(size=(5000, 32)))
    small = np.mean([frechet_distance(_fit(generator.normal(size=(100, 32))), reference)
                     for _ in range(5)])  # fmt: skip
    large = frechet_distance(_fit(generator.normal(size=(5000, 32))), reference)
    assert small > 10 * large  # both samples are perfect


def test_one_vector_has_no_covariance() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        _fit(np.zeros((1, 3)))


def test_the_extrapolation_takes_the_bias_of_few_images_away() -> None:
    """Both sets from one Gaussian, the truth is 0; at 100 points the estimate is far above it."""
    reference = Gaussian(10**9, np.zeros(16), np.eye(16))
    plain, at_infinity = [], []
    for seed in range(40):
        x = np.random.default_rng(seed).normal(size=(400, 16))
        distances = {n: frechet_distance(_fit(x[:n]), reference) for n in (100, 200, 400)}
        plain.append(distances[400])
        at_infinity.append(extrapolated(distances))
    error = np.std(at_infinity) / np.sqrt(len(at_infinity))
    assert np.mean(plain) > 0.2
    assert abs(np.mean(at_infinity)) < 4 * error + 0.03
    assert extrapolated({10: 3.0 + 1 / 10, 40: 3.0 + 1 / 40}) == pytest.approx(3.0)
    with pytest.raises(ValueError, match="two numbers"):
        extrapolated({10: 1.0})

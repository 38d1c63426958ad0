"""MMD against scikit-learn's kernels, SciPy's energy distance, a closed form and torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import energy_distance
from sklearn.metrics.pairwise import polynomial_kernel, rbf_kernel

from monge.metrics.mmd import (
    IMQ_SCALES,
    cubic,
    inverse_multiquadratic,
    median_square,
    mmd_squared,
    negative_distance,
    permutation_p_value,
    rbf,
)


def _sets(n: int, m: int, d: int, shift: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, d)), generator.normal(shift, 1.0, size=(m, d))


def _plain(xx: np.ndarray, yy: np.ndarray, xy: np.ndarray) -> float:
    """The definition, pair by pair."""
    n, m = xy.shape
    off = sum(xx[i, j] for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    off += sum(yy[i, j] for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return float(off - 2 * xy.mean())


def test_agrees_with_the_definition_on_scikit_learns_kernels() -> None:
    x, y = _sets(40, 31, 5, 0.4)
    gamma = 1 / (2 * 3.0)
    reference = _plain(rbf_kernel(x, gamma=gamma), rbf_kernel(y, gamma=gamma),
                       rbf_kernel(x, y, gamma=gamma))  # fmt: skip
    assert mmd_squared(x, y, rbf(3.0)) == pytest.approx(reference, rel=1e-10)
    options = {"degree": 3, "gamma": 1 / 5, "coef0": 1}
    reference = _plain(polynomial_kernel(x, **options), polynomial_kernel(y, **options),
                       polynomial_kernel(x, y, **options))  # fmt: skip
    assert mmd_squared(x, y, cubic) == pytest.approx(reference, rel=1e-10)


def test_the_inverse_multiquadratic_is_that_of_the_paper() -> None:
    x, y = _sets(3, 2, 4, 1.0)
    by_hand = [
        [sum(s * 2.0 / (s * 2.0 + ((a - b) ** 2).sum()) for s in IMQ_SCALES) for b in y] for a in x
    ]
    np.testing.assert_allclose(inverse_multiquadratic(2.0)(x, y), by_hand, rtol=1e-12)


def test_the_energy_distance_is_scipys_in_one_dimension() -> None:
    """SciPy's is the root of the biased estimate over two: 2 E² = 2 E|x−y| − E|x−x'| − E|y−y'|."""
    x, y = _sets(400, 300, 1, 0.7)
    n, m = len(x), len(y)
    within = np.abs(x - x.T).sum() * (1 / (n * (n - 1)) - 1 / n**2)
    within += np.abs(y - y.T).sum() * (1 / (m * (m - 1)) - 1 / m**2)
    reference = energy_distance(x[:, 0], y[:, 0]) ** 2 - within
    assert mmd_squared(x, y, negative_distance) == pytest.approx(reference, rel=1e-9)


def test_of_gaussians_is_the_closed_form() -> None:
    """RBF of width σ² between N(0, I) and N(μ, I), d dimensions, known in closed form."""
    square, shift, d = 2.0, 0.5, 3
    scale = (square / (square + 2)) ** (d / 2)
    exact = 2 * scale * (1 - np.exp(-d * shift**2 / (2 * (square + 2))))
    values = [mmd_squared(*_sets(500, 500, d, shift, seed), rbf(square)) for seed in range(30)]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values) - exact) < 4 * error
    assert error < 0.05 * exact


def test_is_unbiased_where_the_plain_mean_is_not() -> None:
    values = [mmd_squared(*_sets(20, 20, 5, 0.0, seed), rbf(5.0)) for seed in range(200)]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 4 * error
    x, y = _sets(20, 20, 5, 0.0)
    kernel = rbf(5.0)
    biased = kernel(x, x).mean() + kernel(y, y).mean() - 2 * kernel(x, y).mean()
    assert biased > 20 * error  # the diagonals


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = _sets(150, 90, 4, 0.3)
    whole = mmd_squared(x, y, rbf(4.0))
    monkeypatch.setattr("monge.metrics.mmd._ROWS", 17)
    assert mmd_squared(x, y, rbf(4.0)) == pytest.approx(whole, rel=1e-10)


def test_the_p_value_is_uniform_for_equals_and_small_for_others() -> None:
    same = [permutation_p_value(*_sets(40, 30, 3, 0.0, s), rbf(3.0), 99, s) for s in range(60)]
    assert 0.35 < np.mean(same) < 0.65
    assert np.mean(np.array(same) <= 0.1) < 0.25
    assert permutation_p_value(*_sets(40, 30, 3, 1.0), rbf(3.0), 99, 0) == 0.01


def test_the_permuted_values_are_the_estimates_own() -> None:
    """The matrix form against `mmd_squared` of one split drawn by hand."""
    x, y = _sets(12, 9, 2, 0.8)
    both = np.concatenate([x, y])
    first = np.random.default_rng(5).permutation(21)[:12]
    rest = np.setdiff1d(np.arange(21), first)
    swapped = mmd_squared(both[first], both[rest], rbf(2.0))
    smaller = mmd_squared(x, y, rbf(2.0))
    assert permutation_p_value(x, y, rbf(2.0), 1, 5) == (1.0 if swapped >= smaller else 0.5)


def test_the_median_is_that_of_different_members() -> None:
    x = np.array([[0.0], [1.0], [3.0]])
    assert median_square(x) == 4.0
    assert median_square(np.zeros((5, 2))) == 1.0


def test_one_point_is_too_few() -> None:
    with pytest.raises(ValueError, match="2 points a side"):
        mmd_squared(np.zeros((1, 2)), np.zeros((5, 2)), cubic)

"""Wasserstein distances against POT, SciPy and the definition; the known traps shown to bite."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance

from monge.metrics.distances import nearest, squared_distances
from monge.metrics.transport import (
    _entropic,
    directions,
    optimal_matching,
    sinkhorn_divergence,
    sliced_wasserstein1,
    wasserstein,
    wasserstein1,
)


def _bytes(seed: int, n: int, d: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, d), dtype=np.uint8)


def test_exact_distance_agrees_with_pot() -> None:
    ot = pytest.importorskip("ot")
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(60, 5)), generator.normal(0.4, 1.5, size=(60, 5))
    weights = np.full(60, 1 / 60)
    reference = ot.emd2(weights, weights, cdist(x, y))
    assert wasserstein1(x, y) == pytest.approx(reference, rel=1e-10)


def test_wasserstein2_agrees_with_pot_and_with_the_shift() -> None:
    ot = pytest.importorskip("ot")
    generator = np.random.default_rng(3)
    x, y = generator.normal(size=(60, 5)), generator.normal(0.4, 1.5, size=(60, 5))
    weights = np.full(60, 1 / 60)
    reference = ot.emd2(weights, weights, cdist(x, y, "sqeuclidean")) ** 0.5
    assert wasserstein(x, y, 2)[0] == pytest.approx(reference, rel=1e-10)
    assert wasserstein(x, x + 0.5, 2)[0] == pytest.approx(0.5 * 5**0.5, rel=1e-12)
    assert wasserstein(x, y, 1)[0] <= wasserstein(x, y, 2)[0]  # Jensen


@pytest.mark.parametrize("seed", range(5))
def test_the_potentials_prove_the_matching(seed: int) -> None:
    """Feasible to rounding, no gap to rounding, and POT's own duals have the same value."""
    ot = pytest.importorskip("ot")
    generator = np.random.default_rng(seed)
    x, y = generator.normal(size=(80, 4)), generator.normal(0.3, 1.2, size=(80, 4))
    cost = cdist(x, y)
    found = optimal_matching(cost)
    assert (found.u[:, None] + found.v[None, :] <= cost + 1e-12).all()
    assert abs(found.gap) < 1e-12 * found.cost
    weights = np.full(80, 1 / 80)
    _, log = ot.emd2(weights, weights, cost, log=True)
    assert found.dual == pytest.approx(weights @ (log["u"] + log["v"]), rel=1e-9)


def test_a_matching_that_is_not_optimal_would_show_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    cost = cdist(generator.normal(size=(30, 3)), generator.normal(size=(30, 3)))
    anyhow = np.arange(30)
    monkeypatch.setattr("scipy.optimize.linear_sum_assignment", lambda _: (anyhow, anyhow))
    found = optimal_matching(cost)
    assert (found.u[:, None] + found.v[None, :] <= cost + 1e-12).all()
    assert found.gap > 0.1 * found.cost


def test_ties_and_copies_leave_no_gap() -> None:
    x = np.repeat(np.eye(4, dtype=np.uint8) * 9, 10, axis=0)
    for order in (1, 2):
        assert wasserstein(x, x[::-1], order) == (0.0, 0.0)
    assert wasserstein(x, np.roll(x, 1, axis=1), 1)[1] == pytest.approx(0.0, abs=1e-12)


def test_the_entropic_cost_is_pots() -> None:
    ot = pytest.importorskip("ot")
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(50, 3)), generator.normal(0.5, 1.0, size=(40, 3))
    cost = cdist(x, y, "sqeuclidean")
    epsilon = 0.1 * cost.mean()
    a, b = np.full(50, 1 / 50), np.full(40, 1 / 40)
    plan = ot.sinkhorn(a, b, cost, epsilon, method="sinkhorn_log", numItermax=5000, stopThr=1e-12)
    entropy = (plan * np.log(plan / np.outer(a, b))).sum()
    assert _entropic(cost, epsilon) == pytest.approx(
        (plan * cost).sum() + epsilon * entropy, rel=1e-6
    )


def test_the_sinkhorn_divergence_is_zero_on_itself_and_lies_between_its_limits() -> None:
    generator = np.random.default_rng(1)
    x, y = generator.normal(size=(120, 3)), generator.normal(0.8, 1.3, size=(120, 3))
    assert sinkhorn_divergence(x, x.copy()) == pytest.approx(0.0, abs=1e-4)
    assert sinkhorn_divergence(np.zeros((5, 2)), np.zeros((5, 2))) == 0.0
    exact = wasserstein(x, y, 2)[0] ** 2
    means = float(((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum())
    small, large = sinkhorn_divergence(x, y, 0.002), sinkhorn_divergence(x, y, 1000.0)
    assert small == pytest.approx(exact, rel=0.02)
    assert large == pytest.approx(means, rel=0.01)
    assert large < sinkhorn_divergence(x, y) < small
    assert sinkhorn_divergence(x, y) == pytest.approx(sinkhorn_divergence(y, x), rel=1e-4)


def test_exact_distance_is_the_best_of_all_matchings() -> None:
    generator = np.random.default_rng(1)
    x, y = generator.normal(size=(6, 3)), generator.normal(size=(6, 3))
    cost = cdist(x, y)
    best = min(cost[np.arange(6), list(p)].mean() for p in itertools.permutations(range(6)))
    assert wasserstein1(x, y) == pytest.approx(best, rel=1e-12)


def test_exact_distance_of_a_shifted_set_is_the_length_of_the_shift() -> None:
    x = np.random.default_rng(2).normal(size=(50, 4))
    assert wasserstein1(x, x + np.array([3.0, 0.0, 4.0, 0.0])) == pytest.approx(5.0, rel=1e-12)


def test_sets_of_unequal_size_are_refused_by_the_exact_distance() -> None:
    with pytest.raises(ValueError, match="one size"):
        wasserstein1(np.zeros((3, 2)), np.zeros((4, 2)))


def test_distances_of_bytes_are_exact_where_a_plain_float32_product_is_not() -> None:
    x, y = _bytes(0, 7, 12_288), _bytes(1, 5, 12_288)
    y[2] = x[3]
    y[2, 0] ^= 1  # one grey level in one of 12,288 values
    exact = ((x[:, None].astype(np.int64) - y[None].astype(np.int64)) ** 2).sum(axis=2)
    assert (squared_distances(x, y) == exact).all()
    a, b = x.astype(np.float32), y.astype(np.float32)
    plain = (a * a).sum(1)[:, None] - 2 * a @ b.T + (b * b).sum(1)[None]
    assert plain[3, 2] != 1.0, "the trap no longer shows: this test proves nothing"


def test_distances_of_floats_agree_with_scipy_far_from_the_origin() -> None:
    generator = np.random.default_rng(3)
    x, y = 1e6 + generator.normal(size=(20, 6)), 1e6 + generator.normal(size=(30, 6))
    np.testing.assert_allclose(squared_distances(x, y), cdist(x, y, "sqeuclidean"), rtol=1e-8)


@pytest.mark.parametrize("block", [1, 7, 100])
def test_nearest_agrees_with_a_full_sort_however_the_pool_is_cut(block: int) -> None:
    queries, pool = _bytes(4, 9, 50), _bytes(5, 40, 50)
    found, distances = nearest(queries, (pool[i : i + block] for i in range(0, 40, block)), 3)
    full = cdist(queries.astype(float), pool.astype(float))
    np.testing.assert_array_equal(found, full.argsort(axis=1)[:, :3])
    np.testing.assert_allclose(distances, np.sort(full, axis=1)[:, :3], rtol=1e-12)


def test_nearest_refuses_a_pool_smaller_than_k() -> None:
    with pytest.raises(ValueError, match="2 members"):
        nearest(_bytes(0, 3, 4), [_bytes(1, 2, 4)], 3)


@pytest.mark.parametrize("sizes", [(50, 50), (50, 35), (7, 13), (1, 9)])
def test_sliced_distance_is_the_mean_of_scipy_on_each_projection(sizes: tuple[int, int]) -> None:
    generator = np.random.default_rng(6)
    x = generator.normal(size=(sizes[0], 8))
    y = generator.normal(0.3, 2.0, size=(sizes[1], 8))
    along = directions(np.random.default_rng(9), 100, 8)
    reference = np.mean([wasserstein_distance(x @ axis, y @ axis) for axis in along])
    assert sliced_wasserstein1(x, y, 100, seed=9) == pytest.approx(reference, rel=1e-10)


def test_truncating_the_larger_set_would_be_caught() -> None:
    generator = np.random.default_rng(6)
    x, y = np.sort(generator.normal(size=50)), np.sort(generator.normal(0.3, 2.0, size=35))
    wrong = np.abs(x[:35] - y).mean()
    right = wasserstein_distance(x, y)
    assert sliced_wasserstein1(x[:, None], y[:, None], 3, 0) == pytest.approx(right, rel=1e-10)
    assert abs(wrong - right) > 0.1 * right


def test_directions_are_uniform_unit_vectors_and_seeded() -> None:
    along = directions(np.random.default_rng(0), 20_000, 3)
    np.testing.assert_allclose(np.linalg.norm(along, axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(along.T @ along / len(along), np.eye(3) / 3, atol=0.01)
    x, y = _bytes(0, 30, 20), _bytes(1, 30, 20)
    assert sliced_wasserstein1(x, y, 70, 5) == sliced_wasserstein1(x, y, 70, 5)
    assert sliced_wasserstein1(x, y, 70, 5) != sliced_wasserstein1(x, y, 70, 6)


def test_sliced_distance_of_a_shift_is_that_of_the_closed_form() -> None:
    """E|<u, v>| for u uniform on the sphere in three dimensions is |v|/2 (Archimedes)."""
    x = np.random.default_rng(7).normal(size=(40, 3))
    assert sliced_wasserstein1(x, x + np.eye(3)[0] * 2.0, 20_000, 0) == pytest.approx(1.0, abs=0.02)


def test_copies_of_the_mean_beat_honest_samples_in_exact_distance() -> None:
    """Why no promotion is decided by this figure: at few samples it rewards blur."""
    generator = np.random.default_rng(8)
    truth = generator.normal(128.0, 30.0, size=(600, 300)).clip(0, 255).astype(np.uint8)
    real, honest, rest = truth[:200], truth[200:400], truth[400:]
    mean = np.broadcast_to(np.rint(rest.mean(axis=0)).astype(np.uint8), honest.shape)
    assert wasserstein1(mean, real) < 0.8 * wasserstein1(honest, real)
    # The sliced distance is not fooled.
    assert sliced_wasserstein1(mean, real, 64, 0) > 3 * sliced_wasserstein1(honest, real, 64, 0)

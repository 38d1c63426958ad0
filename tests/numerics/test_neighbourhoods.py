"""Precision, recall, density, coverage and the neighbour tests against plain definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from monge.metrics.neighbourhoods import copying, diversity, overlap, two_sample_accuracy


def _sets(n: int, m: int, d: int, shift: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, d)), generator.normal(shift, 1.0, size=(m, d))


def _radii(points: np.ndarray, k: int) -> np.ndarray:
    return NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(points)[0][:, k]


@pytest.mark.parametrize("k", [1, 3, 5])
def test_supports_are_compared_as_the_papers_define_it(k: int) -> None:
    made, real = _sets(60, 45, 3, 0.8)
    real_radii, made_radii = _radii(real, k), _radii(made, k)
    inside = [
        [np.linalg.norm(a - b) <= r for b, r in zip(real, real_radii, strict=True)] for a in made
    ]
    around = [
        [np.linalg.norm(a - b) <= r for b in real] for a, r in zip(made, made_radii, strict=True)
    ]
    found = overlap(made, real, k)
    assert found.precision == np.mean(np.any(inside, axis=1))
    assert found.recall == np.mean(np.any(around, axis=0))
    assert found.density == pytest.approx(np.sum(inside) / (k * len(made)))
    assert found.coverage == np.mean(np.any(inside, axis=0))


def test_a_collapse_costs_recall_and_an_invention_costs_precision() -> None:
    made, real = _sets(400, 400, 2, 0.0)
    half = made[made[:, 0] > 0.0]
    collapsed = overlap(np.concatenate([half, half + 1e-6]), real)
    assert collapsed.precision > 0.9
    assert collapsed.recall < 0.65
    assert collapsed.coverage < 0.65
    invented = overlap(np.concatenate([made, made + 50.0]), real)
    assert invented.precision == pytest.approx(overlap(made, real).precision / 2, abs=0.01)
    assert invented.recall > 0.9


def test_one_outlier_makes_precision_easy_but_not_density() -> None:
    """Naeem et al. 2020, figure 3: a real outlier's ball covers nearly everything."""
    generator = np.random.default_rng(0)
    real = np.concatenate([generator.normal(size=(200, 8)), np.full((1, 8), 30.0)])
    made = generator.normal(8.0, 1.0, size=(200, 8))  # between, where nothing real is
    found = overlap(made, real)
    assert found.precision > 0.9
    assert found.density < 0.25
    assert found.coverage < 0.05


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made, real = _sets(90, 90, 3, 0.5)
    before = overlap(made, real), two_sample_accuracy(made, real), diversity(made)
    monkeypatch.setattr("monge.metrics.neighbourhoods._ROWS", 7)
    after = overlap(made, real)
    assert (after.precision, after.recall, after.density, after.coverage) == pytest.approx(
        (before[0].precision, before[0].recall, before[0].density, before[0].coverage)
    )
    assert two_sample_accuracy(made, real) == before[1]
    assert diversity(made) == pytest.approx(before[2], rel=1e-12)


def test_too_few_points_have_no_neighbours() -> None:
    with pytest.raises(ValueError, match="no 5 neighbours"):
        overlap(np.zeros((5, 2)), np.zeros((9, 2)))


def test_the_two_sample_test_is_leave_one_out_nearest_neighbour() -> None:
    made, real = _sets(50, 50, 3, 0.6)
    points, labels = np.concatenate([made, real]), np.repeat([0, 1], 50)
    right = []
    for i in range(100):
        others = KNeighborsClassifier(1).fit(np.delete(points, i, 0), np.delete(labels, i))
        right.append(others.predict(points[i : i + 1])[0] == labels[i])
    assert two_sample_accuracy(made, real) == np.mean(right)


def test_the_two_sample_test_knows_equals_strangers_and_twins() -> None:
    made, real = _sets(500, 500, 4, 0.0)
    assert two_sample_accuracy(made, real) == pytest.approx(0.5, abs=0.06)
    assert two_sample_accuracy(made + 20.0, real) == 1.0
    assert two_sample_accuracy(real + 1e-9, real) < 0.05
    with pytest.raises(ValueError, match="equally large"):
        two_sample_accuracy(made[:10], real)


def test_diversity_is_the_mean_distance_of_pairs() -> None:
    points = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    assert diversity(points) == pytest.approx((5.0 + 0.0 + 5.0) / 3)
    assert diversity(np.full((4, 3), 7.7)) == 0.0
    assert diversity(np.array([[0, 0], [3, 4]], np.uint8)) == 5.0


def test_copying_is_scipys_test_and_a_share() -> None:
    generator = np.random.default_rng(0)
    made, held_out = generator.random(40), generator.random(50) + 0.2
    share, p_value = copying(made, held_out)
    pairs = made[:, None] < held_out[None, :]
    assert share == pytest.approx(pairs.mean())
    assert p_value == mannwhitneyu(made, held_out, alternative="less").pvalue
    assert copying(np.zeros(40), held_out)[0] == 1.0
    assert copying(np.zeros(40), held_out)[1] < 1e-6
    assert copying(held_out, held_out)[0] == pytest.approx(0.5)

"""Divergences against SciPy and by hand; the cases where they part ways."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from monge.metrics.divergences import jensen_shannon, kullback_leibler, levels, total_variation

P = np.array([0.5, 0.2, 0.3, 0.0])
Q = np.array([0.1, 0.4, 0.4, 0.1])


def test_agree_with_scipy() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        p, q = generator.dirichlet(np.ones(7), 2)
        assert kullback_leibler(p, q) == pytest.approx(entropy(p, q), rel=1e-12)
        assert jensen_shannon(p, q) == pytest.approx(jensenshannon(p, q) ** 2, rel=1e-12)
        assert total_variation(p, q) == pytest.approx(np.maximum(p - q, 0).sum(), rel=1e-12)


def test_kullback_leibler_has_a_direction_and_may_be_infinite() -> None:
    assert kullback_leibler(P, Q) == pytest.approx(entropy(P, Q))
    assert kullback_leibler(Q, P) == math.inf
    assert kullback_leibler(P, P) == 0.0


def test_of_disjoint_distributions_only_the_transport_tells_how_far() -> None:
    """Example 1 of the WGAN paper: JS is log 2 and TV is 1, wherever the other mass lies."""
    here, near, far = np.eye(9)[0], np.eye(9)[1], np.eye(9)[8]
    assert jensen_shannon(here, near) == jensen_shannon(here, far) == pytest.approx(math.log(2))
    assert total_variation(here, near) == total_variation(here, far) == 1.0
    assert kullback_leibler(here, near) == kullback_leibler(here, far) == math.inf


def test_counts_do_as_well_as_shares() -> None:
    assert jensen_shannon(7 * P, Q) == pytest.approx(jensen_shannon(P, Q), rel=1e-12)


@pytest.mark.parametrize("bad", [[-0.1, 1.1], [0.0, 0.0], [np.nan, 1.0], [[0.5, 0.5]]])
def test_what_is_no_distribution_is_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="non-negative weights"):
        total_variation(np.array(bad), np.array([0.5, 0.5]))


def test_levels_count_each_channel_by_itself() -> None:
    images = np.zeros((3, 2, 4, 4), np.uint8)
    images[:, 1] = 255
    images[0, 1, :2] = 7
    found = levels(images)
    assert found.shape == (2, 256)
    assert found[0, 0] == 1.0
    assert found[1, 255] == pytest.approx(5 / 6)
    assert found[1, 7] == pytest.approx(1 / 6)

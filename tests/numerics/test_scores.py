"""The score's closed cases, and class shares against their definition."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import rel_entr

from monge.metrics.divergences import total_variation
from monge.metrics.scores import class_fractions, classifier_score


def test_score_of_uniform_probabilities_is_one() -> None:
    assert classifier_score(np.full((20, 7), 1 / 7)) == pytest.approx(1.0, abs=1e-12)


def test_score_of_balanced_certainty_is_the_number_of_classes() -> None:
    assert classifier_score(np.tile(np.eye(10), (5, 1))) == pytest.approx(10.0, rel=1e-12)


def test_score_of_a_collapsed_generator_is_one_however_certain() -> None:
    one_class = np.zeros((30, 10))
    one_class[:, 3] = 1.0
    assert classifier_score(one_class) == pytest.approx(1.0, abs=1e-12)


def test_score_agrees_with_relative_entropy_from_scipy() -> None:
    p = np.random.default_rng(0).dirichlet(np.full(6, 0.3), size=200)
    reference = np.exp(rel_entr(p, p.mean(axis=0)).sum(axis=1).mean())
    assert classifier_score(p) == pytest.approx(reference, rel=1e-12)
    assert classifier_score(p[::-1]) == pytest.approx(reference, rel=1e-12)


def test_class_fractions_and_total_variation() -> None:
    p = class_fractions(np.array([0, 0, 1, 3]), 4)
    np.testing.assert_allclose(p, [0.5, 0.25, 0.0, 0.25])
    assert total_variation(p, p) == 0.0
    assert total_variation(p, np.array([0.0, 0.0, 1.0, 0.0])) == pytest.approx(1.0)
    assert total_variation(p, np.full(4, 0.25)) == pytest.approx(0.25)

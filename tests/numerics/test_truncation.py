"""Truncated latents against SciPy's truncated normal distribution."""

import numpy as np
import pytest
import scipy.stats

from monge.errors import InputError
from monge.latents import latents, share_within


@pytest.mark.parametrize("truncation", [0.01, 0.3, 1.0, 1.5, 3.0, 6.0])
def test_the_share_within_is_the_normal_distributions(truncation):
    expected = 1.0 - 2.0 * scipy.stats.norm.sf(truncation)
    assert share_within(truncation) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("truncation", [0.3, 1.0, 2.5])
def test_truncated_latents_follow_the_truncated_normal(truncation):
    drawn = latents(11, 0, 2000, 50, truncation).ravel()
    assert np.abs(drawn).max() <= np.float32(truncation)
    law = scipy.stats.truncnorm(-truncation, truncation)
    assert scipy.stats.kstest(drawn, law.cdf).pvalue > 0.01
    assert scipy.stats.kstest(drawn * 1.05, law.cdf).pvalue < 0.01  # the test can tell


def test_truncation_keeps_each_latents_sign_and_order():
    whole, kept = latents(3, 0, 500, 8), latents(3, 0, 500, 8, 0.7)
    assert (np.sign(whole) == np.sign(kept)).all()
    assert (
        np.argsort(whole.ravel(), kind="stable") == np.argsort(kept.ravel(), kind="stable")
    ).all()
    assert (np.abs(kept) <= np.abs(whole)).all()


def test_no_truncation_is_what_it_was():
    assert np.array_equal(latents(3, 5, 7, 9), latents(3, 5, 7, 9, None))


@pytest.mark.parametrize("truncation", [0, -1, 7, float("nan"), float("inf"), "1", True])
def test_a_truncation_that_is_none_is_refused(truncation):
    with pytest.raises(InputError, match="truncation must be"):
        latents(0, 0, 1, 1, truncation)

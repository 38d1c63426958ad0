"""Protects: times are told in the units that people think in."""

import math

import pytest

from monge.durations import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"), (99.4, "99 s"), (100, "1 min 40 s"), (599.4, "9 min 59 s"), (599.6, "10 min"),
        (5939, "99 min"), (6000, "1 h 40 min"), (36_000, "10 h 00 min"), (86_400, "24 h"),
        (math.inf, "an unknown time"), (math.nan, "an unknown time"),
    ],
)  # fmt: skip
def test_durations_are_in_words(seconds, text):
    assert duration(seconds) == text

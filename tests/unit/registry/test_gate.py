"""The gate promotes what is better by more than noise, and nothing else."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monge.errors import InputError
from monge.registry.gate import ReportedFigure, decide, read


def figure(value: float | None, noise: float | None = 0.3, **changes: Any) -> ReportedFigure:
    fields = {"metric": "frechet", "better": "lower", "protocol_hash": "p"} | changes
    return ReportedFigure(value=value, noise=noise, **fields)


def test_the_first_candidate_is_promoted() -> None:
    assert decide(figure(10.0), None, 2.0).promote


# The margin of the first rows is 2 × sqrt(0.3² + 0.4²) = 1.
@pytest.mark.parametrize(
    ("candidate", "champion", "better", "promoted"),
    [
        (8.9, 10.0, "lower", True),
        (9.1, 10.0, "lower", False),
        (10.0, 10.0, "lower", False),
        (11.1, 10.0, "lower", False),
        (11.1, 10.0, "higher", True),
        (10.9, 10.0, "higher", False),
        (8.9, 10.0, "higher", False),
    ],
)
def test_better_by_more_than_the_joint_noise_is_promoted(
    candidate: float, champion: float, better: str, promoted: bool
) -> None:
    verdict = decide(
        figure(candidate, 0.3, better=better), figure(champion, 0.4, better=better), 2.0
    )
    assert verdict.promote is promoted
    assert f"{candidate:.4g} ± 0.3" in verdict.reason
    assert f"{champion:.4g} ± 0.4" in verdict.reason
    assert verdict.reason.startswith("Promoted" if promoted else "Not promoted")
    assert ("worse by" in verdict.reason) is ((candidate < champion) != (better == "lower")
                                             and candidate != champion)  # fmt: skip


def test_no_noise_and_no_gain_is_not_promoted() -> None:
    assert not decide(figure(1.0, 0.0), figure(1.0, 0.0), 0.0).promote
    assert decide(figure(0.999, 0.0), figure(1.0, 0.0), 0.0).promote


@pytest.mark.parametrize("bad", [None, math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_never_promotes(bad: float | None) -> None:
    for champion in (None, figure(10.0)):
        assert not decide(figure(bad), champion, 2.0).promote
        assert not decide(figure(1.0, bad), champion, 2.0).promote
    assert not decide(figure(1.0), figure(bad), 2.0).promote
    assert not decide(figure(1.0), figure(10.0, bad), 2.0).promote


@pytest.mark.parametrize(
    "changes", [{"protocol_hash": "q"}, {"metric": "sliced"}, {"better": "higher"}]
)
def test_figures_of_different_protocols_are_not_compared(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="same protocol"):
        decide(figure(1.0), figure(10.0, **changes), 2.0)


finite = st.floats(-1e6, 1e6)
noises = st.floats(0, 1e3)


@given(finite, finite, noises, noises, st.floats(0, 10), st.sampled_from(["lower", "higher"]))
def test_two_generators_are_never_each_better_than_the_other(
    a: float, b: float, noise_a: float, noise_b: float, least: float, better: str
) -> None:
    one, two = figure(a, noise_a, better=better), figure(b, noise_b, better=better)
    assert not (decide(one, two, least).promote and decide(two, one, least).promote)


def entry(**changes: Any) -> dict[str, Any]:
    return {
        "value": 3.5, "noise": 0.1, "floor": 1.0, "better": "lower",
        "protocol": [{"images": 5000, "protocol_hash": "abc"}],
    } | changes  # fmt: skip


def test_a_figure_is_read_from_the_report() -> None:
    assert read({"frechet": entry()}, "frechet") == ReportedFigure(
        "frechet", 3.5, 0.1, "lower", "abc"
    )
    assert read({"frechet": entry(value=None)}, "frechet").value is None


def test_protocols_differ_when_any_of_their_hashes_does() -> None:
    def two(second: str) -> str:
        hashes = [{"protocol_hash": "abc"}, {"protocol_hash": second}]
        return read({"frechet": entry(protocol=hashes)}, "frechet").protocol_hash

    assert two("x") == two("x") != two("y")
    assert two("x") != read({"frechet": entry()}, "frechet").protocol_hash


def test_a_metric_that_cannot_decide_is_the_users_mistake() -> None:
    with pytest.raises(InputError, match="no figure 'fretchet'; it has frechet, sliced"):
        read({"frechet": entry(), "sliced": entry(), "note": "x"}, "fretchet")
    with pytest.raises(InputError, match="whether lower or higher balance is better"):
        read({"balance": entry(better=None)}, "balance")

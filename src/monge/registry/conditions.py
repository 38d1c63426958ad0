"""The conditions of promotion: every one must hold, and each says in a sentence how it came out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from monge.params import Condition
from monge.registry.gate import ReportedFigure, Verdict, decide, measured, text


@dataclass(frozen=True)
class Finding:
    """A finding that one condition holds, or does not, with its figures."""

    holds: bool
    sentence: str


def judge(
    conditions: Iterable[Condition],
    candidate: Mapping[str, ReportedFigure],
    champion: Mapping[str, ReportedFigure] | None,
    floor: Finding | None = None,
) -> Verdict:
    """Promote when every condition holds; the reason names all of them, or those that do not.

    `floor` is an absolute condition that was looked at already, whatever the champion is like.

    The candidate has the figures that the conditions name, and the champion those that it can have;
    `champion` is None where there is none.
    """
    outcomes = [
        outcome
        for condition in conditions
        for outcome in _outcomes(
            condition,
            candidate[condition.metric],
            champion.get(condition.metric) if champion is not None else None,
            alone=champion is not None and condition.metric not in champion,
        )
    ]
    if floor is not None:
        outcomes.insert(len(outcomes) if floor.holds else 0, floor)
    promote = all(outcome.holds for outcome in outcomes)
    told = [outcome.sentence for outcome in outcomes if promote or not outcome.holds]
    return Verdict(promote, ("Promoted: " if promote else "Not promoted: ") + "; ".join(told) + ".")


def _outcomes(
    condition: Condition, candidate: ReportedFigure, champion: ReportedFigure | None, *, alone: bool
) -> list[Finding]:
    """Check one condition; `alone` where there is a champion that cannot have this figure."""
    bounds = []
    if condition.at_most is not None:
        bounds.append(("at most", condition.at_most, 1))
    if condition.at_least is not None:
        bounds.append(("at least", condition.at_least, -1))
    outcomes = [
        Finding(
            (known := measured(candidate)) is not None and sign * known[0] <= sign * bound,
            f"{condition.metric} {text(candidate)}, {words} {bound:g} was asked",
        )
        for words, bound, sign in bounds
    ]
    if condition.improvement is not None and alone:
        told = f"{condition.metric} {text(candidate)}, which the champion cannot have"
        outcomes.append(Finding(True, told))
    elif condition.improvement is not None:
        verdict = decide(candidate, champion, condition.improvement)
        sentence = verdict.reason.removeprefix("Not promoted: ").removeprefix("Promoted: ")
        outcomes.append(Finding(verdict.promote, sentence.removesuffix(".")))
    return outcomes

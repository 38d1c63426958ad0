"""The gate: whether a candidate's figure is better than the champion's by more than noise."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from monge.errors import InputError


@dataclass(frozen=True)
class ReportedFigure:
    """One figure of a report: its value, the standard deviation of its repeats, its protocol."""

    metric: str
    value: float | None
    noise: float | None
    better: Literal["lower", "higher"]
    protocol_hash: str


@dataclass(frozen=True)
class Verdict:
    """The gate's decision and its reason, one sentence with the figures."""

    promote: bool
    reason: str


def read(report: Mapping[str, Any], metric: str) -> ReportedFigure:
    """Take a figure out of a `reports/metrics.json` mapping; InputError when it is not there."""
    entry = report.get(metric)
    if not isinstance(entry, Mapping) or "value" not in entry:
        figures = sorted(
            name for name, item in report.items() if isinstance(item, Mapping) and "value" in item
        )
        raise InputError(
            f"promote.conditions: the report has no figure {metric!r}; it has {', '.join(figures)}."
        )
    if entry.get("better") not in ("lower", "higher"):
        raise InputError(
            f"promote.conditions: the report does not say whether lower or higher {metric} is "
            "better, so nothing can be promoted by it. Choose another metric."
        )
    return ReportedFigure(
        metric, entry["value"], entry.get("noise"), entry["better"], _protocol_hash(entry)
    )


def _protocol_hash(entry: Mapping[str, Any]) -> str:
    """One hash for a figure's protocols, however the report carries them."""
    protocols = entry.get("protocol") or []
    if isinstance(protocols, Mapping):
        protocols = [protocols]
    hashes = sorted(str(item["protocol_hash"]) for item in protocols if "protocol_hash" in item)
    if len(hashes) == 1:
        return hashes[0]
    named = hashes or protocols
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()


def decide(
    candidate: ReportedFigure, champion: ReportedFigure | None, min_improvement: float
) -> Verdict:
    """Promote when there is no champion, or when better by more than the joint noise.

    The margin is `min_improvement` times sqrt(n1² + n2²), the standard deviation of a difference of
    two independent figures. Raises ValueError when the two were not measured alike: judge the
    champion again under the candidate's protocol first.
    """
    judged = measured(candidate)
    if judged is None:
        return _no(f"the candidate's {candidate.metric} is {text(candidate)}.")
    if champion is None:
        first = f"Promoted: there was no champion ({candidate.metric} {text(candidate)})."
        return Verdict(True, first)
    if _protocol(candidate) != _protocol(champion):
        raise ValueError(f"{candidate} and {champion} were not measured by the same protocol")
    standing = measured(champion)
    if standing is None:
        return _no(f"the champion's {champion.metric} is {text(champion)}.")
    gain = standing[0] - judged[0] if candidate.better == "lower" else judged[0] - standing[0]
    margin = min_improvement * math.hypot(judged[1], standing[1])
    both = f"{candidate.metric} {text(candidate)} against the champion's {text(champion)}"
    if gain > margin:
        better = f"Promoted: {both}, better by {gain:.4g}, more than the {margin:.4g} asked."
        return Verdict(True, better)
    change = f"better by only {gain:.4g}" if gain >= 0 else f"worse by {-gain:.4g}"
    return _no(f"{both}, {change}; better by more than {margin:.4g} was asked.")


def _no(reason: str) -> Verdict:
    return Verdict(False, f"Not promoted: {reason}")


def _protocol(figure: ReportedFigure) -> tuple[str, str, str]:
    return figure.metric, figure.better, figure.protocol_hash


def measured(figure: ReportedFigure) -> tuple[float, float] | None:
    """Value and noise, if both are numbers."""
    value, noise = figure.value, figure.noise
    if value is None or noise is None or not (math.isfinite(value) and math.isfinite(noise)):
        return None
    return value, noise


def text(figure: ReportedFigure) -> str:
    """The value and its noise, for a sentence."""
    value, noise = ("unknown" if x is None else f"{x:.4g}" for x in (figure.value, figure.noise))
    return f"{value} ± {noise}"

"""Promotion: register a generator as challenger and let the gate decide about champion."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from monge.errors import InputError
from monge.params import PromoteParams
from monge.registry.conditions import Finding, judge
from monge.registry.gate import ReportedFigure, Verdict, read
from monge.registry.kind import KIND_TAG, Kind, require_kind
from monge.registry.models import EXPERIMENT, Registry, Version

Report = Mapping[str, Any]

FIGURE_TAG = "monge.figure."


@dataclass(frozen=True)
class Promotion:
    """The outcome: the registered version, the champion now (if any), and why."""

    version: Version
    champion: Version | None
    promoted: bool
    reason: str


def promote(
    registry: Registry,
    model: Path,
    report: Report,
    params: PromoteParams,
    *,
    run_key: str,
    tags: Mapping[str, str],
    kind: Kind | None = None,
    rejudge: Callable[[Path], Report],
    floor: Finding | None = None,
    beside: Mapping[str, bytes] | None = None,
    describe: Callable[[str], str] = str,
    experiment: str = EXPERIMENT,
    force: str | None = None,
    signed: Mapping[str, bytes] | None = None,
) -> Promotion:
    """Register `model`, judged by `report`, and make it champion if the gate says so.

    `rejudge` measures the champion's file again when a figure of it has another protocol. `floor`
    is what must hold of any champion, and how that came out. `force` is a reason to promote
    whatever the gate says. `beside` are files kept with it, `signed` its files' signatures by their
    names. `describe` makes the version's description of the verdict's reason. Aliases move last:
    killed anywhere, the next call completes it. Raises what the registry raises, and InputError for
    a report without a figure that a condition names, or a name for images of another `kind`.
    """
    candidate = _figures(report, params)
    if kind is not None:
        require_kind(registry, kind)
        tags = {**tags, KIND_TAG: kind.to_tag()}
    version = registry.register(
        model, run_key=run_key, tags=tags, experiment=experiment, beside=beside
    )
    if signed:
        version = registry.sign(version, signed)
    while True:
        champion = registry.champion()
        if champion is not None and champion.number == version.number:
            reason = f"Unchanged: this file is the champion already (version {version.number})."
            return Promotion(champion, champion, False, reason)
        verdict = _verdict(registry, champion, version, candidate, params, rejudge, floor)
        verdict = _decided(verdict, params.mode, force)
        # Measuring takes minutes and needs no turn; the gate must still have compared with the
        # champion that it then replaces.
        with registry.turn():
            if _number(registry.champion()) != _number(champion):
                continue
            registry.set_tags(version, _notes(report, verdict, champion, force))
            registry.describe(version, describe(verdict.reason))
            return _moved(registry, version, champion, verdict)


def _moved(
    registry: Registry, version: Version, champion: Version | None, verdict: Verdict
) -> Promotion:
    """Move the aliases, champion's last of all."""
    registry.set_alias("challenger", version)
    if verdict.promote:
        if champion is not None and champion.model_hash != version.model_hash:
            registry.set_alias("previous", champion)
        registry.set_alias("champion", version)
    return Promotion(
        registry.find(str(version.number)), registry.champion(), verdict.promote, verdict.reason
    )


def _number(version: Version | None) -> int | None:
    return None if version is None else version.number


def _verdict(
    registry: Registry,
    champion: Version | None,
    version: Version,
    candidate: Mapping[str, ReportedFigure],
    params: PromoteParams,
    rejudge: Callable[[Path], Report],
    floor: Finding | None,
) -> Verdict:
    """Ask the gate about the candidate beside this champion."""
    if params.mode == "off":
        return Verdict(False, "Not promoted: promote.mode is off.")
    if champion is not None and champion.model_hash == version.model_hash:
        gone = f"the stored file of version {champion.number} was gone, and this is the same"
        return Verdict(True, f"Promoted: {gone}.")
    standing = _standing(registry, champion, candidate, params, rejudge)
    return judge(params.conditions, candidate, standing, floor)


def _figures(report: Report, params: PromoteParams) -> dict[str, ReportedFigure]:
    """The figures that the conditions name."""
    return {condition.metric: read(report, condition.metric) for condition in params.conditions}


def _standing(
    registry: Registry,
    champion: Version | None,
    candidate: Mapping[str, ReportedFigure],
    params: PromoteParams,
    rejudge: Callable[[Path], Report],
) -> dict[str, ReportedFigure] | None:
    """The champion's figures under the candidate's protocols, from its tags or measured again."""
    if champion is None:
        return None
    known = figures(champion)
    if all(
        metric in known and known[metric].protocol_hash == figure.protocol_hash
        for metric, figure in candidate.items()
    ):
        return known
    again = rejudge(registry.fetch(champion))
    # Of another kind it may lack one: an unconditional generator draws no labels.
    return {metric: read(again, metric) for metric in candidate if metric in again}


def _decided(verdict: Verdict, mode: str, force: str | None) -> Verdict:
    """Decide what is done about the gate's verdict."""
    if force is not None:
        return Verdict(True, f"Promoted by force ({force}). The gate: {verdict.reason}")
    if mode == "dry-run" and verdict.promote:
        return Verdict(False, f"Not promoted: promote.mode is dry-run. The gate: {verdict.reason}")
    return verdict


def figures(version: Version) -> dict[str, ReportedFigure]:
    """The figures in a version's tags, by metric; what is damaged is left out."""
    found = {}
    for tag, value in version.tags.items():
        if tag.startswith(FIGURE_TAG):
            try:
                found[tag.removeprefix(FIGURE_TAG)] = ReportedFigure(**json.loads(value))
            except (ValueError, TypeError):
                continue
    return found


def _notes(
    report: Report, verdict: Verdict, champion: Version | None, force: str | None
) -> dict[str, str]:
    """The version's tags: every figure that it was judged by, and the verdict."""
    notes = {
        "monge.verdict": "promoted" if verdict.promote else "not promoted",
        "monge.reason": verdict.reason,
        "monge.against": "none" if champion is None else str(champion.number),
    }
    if force is not None:
        notes["monge.forced"] = force
    for metric in report:
        try:
            notes[FIGURE_TAG + metric] = json.dumps(asdict(read(report, metric)))
        except InputError:  # a figure that no gate could use
            continue
    return notes

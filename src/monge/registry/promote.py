"""Promotion: register a generator as challenger and let the gate decide about champion."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from monge.errors import InputError
from monge.files import locked
from monge.params import PromoteParams
from monge.registry.gate import Figure, Verdict, decide, read
from monge.registry.models import EXPERIMENT, Registry, Version

Report = Mapping[str, Any]

FIGURE_TAG = "monge.figure."


@dataclass(frozen=True)
class Promotion:
    """What came out: the registered version, the champion now (if any), and why."""

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
    rejudge: Callable[[Path], Report],
    experiment: str = EXPERIMENT,
) -> Promotion:
    """Register `model`, judged by `report`, and make it champion if the gate says so.

    `rejudge` measures the champion's file again when its figure has another protocol. Aliases move
    last, champion's last of all: killed anywhere, the next call completes it. Raises what the
    registry raises, and InputError when the report lacks the metric.
    """
    candidate = read(report, params.metric)
    # One at a time: the gate must compare with the champion that it then replaces.
    with locked(registry.state / "promote.lock"):
        version = registry.register(model, run_key=run_key, tags=tags, experiment=experiment)
        champion = registry.champion()
        if champion is not None and champion.number == version.number:
            reason = f"Unchanged: this file is the champion already (version {version.number})."
            return Promotion(champion, champion, False, reason)
        standing = None
        if champion is not None:
            standing = _standing(registry, champion, candidate, rejudge)
        verdict = decide(candidate, standing, params.min_improvement)
        registry.set_tags(version, _notes(report, verdict, champion))
        registry.set_alias("challenger", version)
        if verdict.promote:
            if champion is not None:
                registry.set_alias("previous", champion)
            registry.set_alias("champion", version)
        versions = {item.number: item for item in registry.versions()}
        return Promotion(
            versions[version.number], registry.champion(), verdict.promote, verdict.reason
        )


def _standing(
    registry: Registry,
    champion: Version,
    candidate: Figure,
    rejudge: Callable[[Path], Report],
) -> Figure:
    """The champion's figure under the candidate's protocol, from its tags or measured again."""
    try:
        known = Figure(**json.loads(champion.tags[FIGURE_TAG + candidate.metric]))
    except (KeyError, ValueError, TypeError):
        known = None
    if known is not None and known.protocol_hash == candidate.protocol_hash:
        return known
    return read(rejudge(registry.fetch(champion)), candidate.metric)


def _notes(report: Report, verdict: Verdict, champion: Version | None) -> dict[str, str]:
    """The version's tags: every figure that it was judged by, and the verdict."""
    notes = {
        "monge.verdict": "promoted" if verdict.promote else "not promoted",
        "monge.reason": verdict.reason,
        "monge.against": "none" if champion is None else str(champion.number),
    }
    for metric in report:
        try:
            notes[FIGURE_TAG + metric] = json.dumps(asdict(read(report, metric)))
        except InputError:  # a figure that no gate could use
            continue
    return notes

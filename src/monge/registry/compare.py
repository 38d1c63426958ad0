"""Versions beside each other: the figures they were judged by, and whether they differ by more."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from monge.registry.gate import ReportedFigure, measured, text
from monge.registry.models import Version
from monge.registry.promote import figures


@dataclass(frozen=True)
class Difference:
    """One figure of two versions; `errors` is their distance in joint standard errors.

    Positive where the second is better, None where they cannot be compared, and `why` says so.
    """

    metric: str
    first: str
    second: str
    errors: float | None
    why: str


def compare(first: Version, second: Version) -> list[Difference]:
    """Every figure that both versions have."""
    left, right = figures(first), figures(second)
    return [_difference(left[m], right[m]) for m in sorted(left.keys() & right.keys())]


def _difference(a: ReportedFigure, b: ReportedFigure) -> Difference:
    errors, why = _errors(a, b)
    return Difference(a.metric, text(a), text(b), errors, why)


def _errors(a: ReportedFigure, b: ReportedFigure) -> tuple[float | None, str]:
    one, two = measured(a), measured(b)
    if a.protocol_hash != b.protocol_hash:
        return None, "measured by other protocols"
    if one is None or two is None:
        return None, "not a number"
    noise = math.hypot(one[1], two[1])
    gain = one[0] - two[0] if a.better == "lower" else two[0] - one[0]
    errors = gain / noise if noise else math.copysign(math.inf, gain) if gain else 0.0
    return errors, _words(errors)


def _words(errors: float) -> str:
    if abs(errors) < 2.0:
        return "no difference beyond noise"
    return f"{'better' if errors > 0 else 'worse'} by {abs(errors):.3g} standard errors"


def lines(first: Version, second: Version) -> list[str]:
    """A table of two versions' figures; the last column says whether the second is better."""
    head = ("figure", f"version {first.number}", f"version {second.number}", "")
    return _table([head, *((d.metric, d.first, d.second, d.why) for d in compare(first, second))])


def listing(versions: list[Version], metrics: list[str]) -> list[str]:
    """A table of versions, the newest first: aliases, figures, data, training step, age."""
    rows = [("version", "aliases", *metrics, "data", "step", "registered")]
    for version in reversed(versions):
        known = figures(version)
        measured_by = (text(known[m]) if m in known else "-" for m in metrics)
        data = version.tags.get("monge.dataset", "")[:8] or "-"
        step = version.tags.get("monge.step", "-")
        aliases = ", ".join(version.aliases) or "-"
        rows.append((str(version.number), aliases, *measured_by, data, step, _age(version)))
    return _table(rows)


_ORIGIN = (
    ("run", "run"), ("monge.sha256", "file"), ("monge.encoder", "encoder"),
    ("monge.dataset", "dataset"), ("monge.data_revision", "images at"),
    ("monge.experiment", "experiment"), ("monge.step", "step"),
    ("monge.git_revision", "trained at"), ("monge.export_revision", "exported at"),
    ("monge.code", "code"),
)  # fmt: skip


def described(version: Version) -> list[str]:
    """A table of what a version says of itself: name, standing, origin, verdict."""
    facts = {"run": version.run_id or "", **version.tags}
    told = [(label, facts[tag]) for tag, label in _ORIGIN if facts.get(tag)]
    data = [(tag.removeprefix("dvc."), f"{value} (DVC)") for tag, value in sorted(facts.items())
            if tag.startswith("dvc.")]  # fmt: skip
    reason = facts.get("monge.reason", "")
    return _table(
        [
            (f"{version.name} version {version.number}", ", ".join(version.aliases)),
            ("registered", _age(version)),
            *told,
            *data,
            *([("verdict", reason)] if reason else []),
        ]
    )


def _age(version: Version) -> str:
    seconds = time.time() - version.registered_s
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return "just now"


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    """Lines of columns, each as wide as its widest entry."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]

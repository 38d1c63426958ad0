"""`reports/metrics.json`: every figure with its noise, interval, floor and protocol.

At the top each figure's value alone, so that `dvc metrics show` and `dvc metrics diff` are tables
of values; beside them `figures`, a list of one mapping with the whole, which DVC leaves out
because its tables have no lists.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monge.errors import InputError
from monge.evaluation import verdict
from monge.evaluation.judgement import Figure

Entry = dict[str, Any]

_WHOLE = "figures"
_MADE = "made"


def entries(figures: Mapping[str, Figure]) -> dict[str, Entry]:
    """Each figure as what JSON can hold; floor, p-value, baselines, verdict where there are."""
    return {name: _entry(name, figure) for name, figure in figures.items()}


def _entry(name: str, figure: Figure) -> Entry:
    entry = {
        "value": figure.value,
        "noise": figure.noise,
        "interval": list(figure.interval),
        **({} if figure.floor is None else {"floor": figure.floor}),
        **({} if figure.p_value is None else {"p_value": figure.p_value}),
        **({} if figure.baselines is None else {"baselines": dict(figure.baselines)}),
        "better": figure.better,
        "protocol": dict(figure.protocol),
    }
    said = verdict.word(name, entry)
    return entry if said is None else {**entry, "verdict": said}


def to_bytes(figures: Mapping[str, Entry], made: Mapping[str, Any] | None = None) -> bytes:
    """Write the document of these entries; `made` says with which parameters, of which file."""
    values = {name: entry["value"] for name, entry in figures.items()}
    document = {**values, _WHOLE: [dict(figures)], **({_MADE: [dict(made)]} if made else {})}
    return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode("utf-8")


def read(path: Path) -> dict[str, Entry]:
    """Read the entries back. Raises InputError when there is no report, or a damaged one."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        (found,) = document[_WHOLE]
        for entry in found.values():
            float(entry["value"]), float(entry["noise"]), entry["protocol"]["generator_hash"]
    except FileNotFoundError:
        raise InputError(f"{path}: no report. Run `monge evaluate` first.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path}: damaged. Run `monge evaluate` again.") from None
    return dict(found)


def made(path: Path) -> dict[str, Any]:
    """Read what `to_bytes` was told beside the figures; empty where it was told nothing."""
    try:
        (found,) = json.loads(path.read_text(encoding="utf-8"))[_MADE]
        return dict(found)
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def rows(figures: Mapping[str, Entry]) -> list[tuple[str, str, str, str, str, str]]:
    """Cells for a person: name, value, noise, interval, real images' own, which way is better."""
    return [
        (
            name,
            f"{entry['value']:.4g}",
            f"{entry['noise']:.2g}",
            "{:.4g} to {:.4g}".format(*entry["interval"]),
            f"{entry['floor']:.4g}" if "floor" in entry else "-",
            entry["better"],
        )
        for name, entry in figures.items()
    ]


def table(figures: Mapping[str, Entry]) -> list[str]:
    """Align the figures in columns; `real` is held-out real images judged the same way."""
    cells = [("figure", "value", "noise", "95 % interval", "real", "better"), *rows(figures)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        f"{name:<{widths[0]}}  {value:>{widths[1]}} ± {noise:<{widths[2]}}  "
        f"{interval:<{widths[3]}}  {real:>{widths[4]}}  {better}"
        for name, value, noise, interval, real, better in cells
    ]

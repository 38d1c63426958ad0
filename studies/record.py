"""What a run of a study leaves: a picture, and a file of its numbers for pages and flows."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

from monge.files import write_whole
from studies import catalogue
from studies.study import Conditions, Study

Record = dict[str, Any]


def stem(name: str) -> str:
    """The name of a study's files: that of its script, with the paper before it."""
    return name.replace("/", "-")


def kept(name: str, at: Conditions, out: Path) -> Record:
    """Run a study and write its picture and its record, each whole; the record."""
    began = time.monotonic()
    found = catalogue.work_of(name)(at)
    picture = out / f"{stem(name)}.png"
    record: Record = {
        "study": name,
        "scale": at.scale,
        "seed": at.seed,
        "verdict": found.verdict,
        "seconds": round(time.monotonic() - began, 1),
        "numbers": [
            {"name": n.name, "value": n.value, "low": n.low, "high": n.high, "paper": n.paper}
            for n in found.numbers
        ],
        "picture": str(picture),
    }
    drawn = io.BytesIO()
    found.figure.savefig(drawn, format="png", dpi=110)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(picture, drawn.getvalue())
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=True) + "\n"
    write_whole(out / f"{stem(name)}.json", text.encode("utf-8"))
    return record


def words(told: Study, record: Record) -> str:
    """What a person reads after a run: the numbers, where the claim wants them, the verdict."""
    lines = [f"  {_number(number)}" for number in record["numbers"]]
    verdict = f"{told.source}: the claim {record['verdict']}."
    return "\n".join([*lines, verdict, f"picture: {record['picture']}"])


def _number(number: dict[str, Any]) -> str:
    low, high = number["low"], number["high"]
    within = low <= number["value"] <= high
    wanted = f"{low:.4g} to {high:.4g}" if low < high else f"{low:.4g}"
    paper = f"; the paper: {number['paper']}" if number["paper"] else ""
    mark = "" if within else ", and is not"
    return f"{number['name']}: {number['value']:.6g} (wanted: {wanted}{mark}{paper})"

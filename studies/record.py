"""Records a run of a study: a picture, and a file of its numbers for pages and flows."""

from __future__ import annotations

import hashlib
import io
import json
import math
import time
from pathlib import Path
from typing import Any

from monge.files import write_whole
from monge.paths import Paths
from studies import catalogue
from studies.study import Conditions, Scale, Study

Record = dict[str, Any]

ROOT = Path(__file__).parents[1]


def stem(name: str) -> str:
    """Name a study's files: its paper and its script."""
    return name.replace("/", "-")


def place(name: str, scale: Scale, seed: int, out: Path) -> Path:
    """Find the record of a run; its picture lies beside it."""
    return out / f"{stem(name)}-{scale}-{seed}.json"


def code() -> str:
    """A digest of all that decides what a study finds: this package and the product."""
    digest = hashlib.sha256()
    for folder in (ROOT / "studies", ROOT / "src" / "monge"):
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(ROOT).as_posix().encode("utf-8"))
            digest.update(path.read_bytes())
    return digest.hexdigest()


def kept(name: str, at: Conditions, out: Path) -> Record:
    """Run a study and write its picture and its record, each whole; the record."""
    began = time.monotonic()
    found = catalogue.work_of(name)(at)
    path = place(name, at.scale, at.seed, out)
    record: Record = {
        "study": name,
        "scale": at.scale,
        "seed": at.seed,
        "images": "" if at.images is None else str(at.images),
        "verdict": found.verdict,
        "seconds": round(time.monotonic() - began, 1),
        "code": code(),
        "numbers": [
            {"name": n.name, "value": _plain(n.value), "low": _plain(n.low),
             "high": _plain(n.high), "paper": n.paper}
            for n in found.numbers
        ],
        "picture": path.with_suffix(".png").name,
    }  # fmt: skip
    drawn = io.BytesIO()
    found.figure.savefig(drawn, format="png", dpi=110)
    write_whole(path.with_suffix(".png"), drawn.getvalue())
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(path, text.encode("utf-8"))
    return record


def earlier(name: str, scale: Scale, seed: int, out: Path) -> Record | None:
    """The record of a run that this very code made, on data of the study's own."""
    path = place(name, scale, seed, out)
    record = read_one(path)
    same = record is not None and record["code"] == code() and not record["images"]
    return record if same and path.with_suffix(".png").exists() else None


def read_one(path: Path) -> Record | None:
    """The record of a run; None where there is none, or a damaged one."""
    try:
        record: Record = json.loads(path.read_bytes())
        return record if {"code", "images"} <= record.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def log(record: Record, told: Study, out: Path) -> None:
    """Leave a run with MLflow, in the study's own experiment."""
    from monge.tracking import open_run

    name = f"{stem(record['study'])}-{record['scale']}-{record['seed']}"
    run = open_run(
        f"study-{name}", root=ROOT, state=Paths(ROOT).own_state, experiment=f"studies/{told.title}"
    )
    run.params({key: record[key] for key in ("study", "scale", "seed", "images")})
    run.tags({"claim": told.claim, "source": told.source, "verdict": record["verdict"]})
    numbers = {number["name"]: float(number["value"]) for number in record["numbers"]}
    run.metrics(numbers | {"seconds": record["seconds"]}, 0, again=True)
    run.file(out / record["picture"], "")
    run.close("FINISHED")


def words(told: Study, record: Record, out: Path) -> str:
    """Tell a person after a run: the numbers, where the claim wants them, the verdict."""
    lines = [f"  {_number(number)}" for number in record["numbers"]]
    verdict = f"{told.source}: the claim {record['verdict']}."
    return "\n".join([*lines, verdict, f"picture: {out / record['picture']}"])


def wanted(number: dict[str, Any]) -> str:
    """Between which two values the claim holds, in words."""
    low, high = float(number["low"]), float(number["high"])
    return f"{low:.4g} to {high:.4g}" if low < high else f"{low:.4g}"


def _plain(value: float) -> float | str:
    """The number, or in words what JSON has none for: "inf", "nan"."""
    return float(value) if math.isfinite(value) else str(float(value))


def _number(number: dict[str, Any]) -> str:
    value, low, high = (float(number[key]) for key in ("value", "low", "high"))
    paper = f"; the paper: {number['paper']}" if number["paper"] else ""
    mark = "" if low <= value <= high else ", and is not"
    return f"{number['name']}: {value:.6g} (wanted: {wanted(number)}{mark}{paper})"

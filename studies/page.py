"""Writes docs/studies: every study with its claim, our picture, our numbers and the verdict.

    python -m studies.page studies-out [--scale quick]

The numbers of the page stand in docs/studies/records.json as well, from which a test writes the
page once more: a number that was typed by hand is found.
"""

from __future__ import annotations

import argparse
import ast
import json
import shutil
import statistics
import sys
from pathlib import Path
from typing import get_args

from monge.durations import duration
from monge.files import write_whole
from studies import catalogue
from studies.record import ROOT, Record, place, read_one, stem, wanted
from studies.study import Scale

PAGES = ROOT / "docs" / "studies"
SEEDS = (0, 1, 2)

_HEAD = """# The papers' claims, run here

Each claim is tried by a short script in `studies/` that trains with this project's own objectives,
networks and figures. A claim holds where all of its numbers are between the two that it wants, for
seeds 0, 1 and 2; the numbers here are medians, with their least and greatest in brackets. They are
of the {scale} size.

    python -m studies                              # lists them
    python -m studies wgan/parallel_lines --quick  # seconds
    make studies                                   # all of them, and this page's numbers

| study | source | verdict |
|---|---|---|
"""


def main(arguments: list[str] | None = None) -> int:
    """Collect the records of a folder and write the page from them."""
    parser = argparse.ArgumentParser(prog="python -m studies.page", description=__doc__)
    parser.add_argument("out", type=Path, help="where the runs left their records")
    parser.add_argument("--scale", choices=get_args(Scale), default="default")
    asked = parser.parse_args(arguments)
    out: Path = asked.out
    tried = {name: _of(name, asked.scale, out) for name in catalogue.NAMES}
    records = {name: found for name, found in tried.items() if len(found) == len(SEEDS)}
    missing = [name for name in tried if name not in records]
    if missing:
        print(f"studies: not every seed was run of {', '.join(missing)}: `make studies` does it.",
              file=sys.stderr)  # fmt: skip
    if not records:
        return 2
    PAGES.mkdir(parents=True, exist_ok=True)
    for name, found in records.items():
        shutil.copyfile(out / found[0]["picture"], PAGES / f"{stem(name)}.png")
    text = json.dumps([_slim(one) for found in records.values() for one in found], indent=1,
                      ensure_ascii=False)  # fmt: skip
    write_whole(PAGES / "records.json", f"{text}\n".encode())
    write_whole(PAGES / "index.md", written(records).encode("utf-8"))
    print(f"{PAGES / 'index.md'}: {len(records)} studies")
    return 0


def written(records: dict[str, list[Record]]) -> str:
    """The page, from the records of each study."""
    rows, parts = [], []
    for name, found in records.items():
        told, said = catalogue.told(name), verdict(found)
        anchor = _anchor(told.title)
        rows.append(f"| [{told.title}](#{anchor}) | {told.source} | {said} |")
        minutes = duration(statistics.median(record["seconds"] for record in found))
        parts.append(
            f"## {told.title}\n\n**Claim** ({told.source}). {told.claim}\n\n"
            f"**Verdict: {said}.**\n\n![{told.title}]({stem(name)}.png)\n\n{_table(found)}\n\n"
            f"{text_of(name)}\n\n`python -m studies {name}{_size(found[0])}`, {minutes} a run on "
            "the machine that made this page.\n"
        )
    scale = next((found[0]["scale"] for found in records.values()), "default")
    open_ones = [name for name in catalogue.NAMES if name not in records]
    rest = f"Not on this page yet: {', '.join(open_ones)}.\n\n" if open_ones else ""
    return _HEAD.format(scale=scale) + "\n".join(rows) + f"\n\n{rest}" + "\n".join(parts)


def verdict(found: list[Record]) -> str:
    """The verdict of every seed, or how many seeds had which."""
    said = [record["verdict"] for record in found]
    if len(set(said)) == 1:
        return str(said[0])
    counted = ", ".join(f"{one} for {said.count(one)}" for one in sorted(set(said)))
    return f"holds in part ({counted} of {len(said)} seeds)"


def text_of(name: str) -> str:
    """A script's own words, without their first line, which is the title's."""
    source = (ROOT / "studies" / f"{name}.py").read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    return docstring.partition("\n\n")[2]


def read() -> dict[str, list[Record]]:
    """The records that the page was written from, by study."""
    found: dict[str, list[Record]] = {}
    for record in json.loads((PAGES / "records.json").read_text(encoding="utf-8")):
        found.setdefault(record["study"], []).append(record)
    return found


def _size(record: Record) -> str:
    return "" if record["scale"] == "default" else f" --{record['scale']}"


def _of(name: str, scale: Scale, out: Path) -> list[Record]:
    found = (read_one(place(name, scale, seed, out)) for seed in SEEDS)
    return [record for record in found if record is not None]


def _slim(record: Record) -> Record:
    return {key: record[key] for key in ("study", "scale", "seed", "verdict", "seconds", "numbers")}


def _table(found: list[Record]) -> str:
    rows = ["| number | here | wanted | the paper |", "|---|---|---|---|"]
    for index, number in enumerate(found[0]["numbers"]):
        values = [float(record["numbers"][index]["value"]) for record in found]
        rows.append(
            f"| {_cell(number['name'])} | {_spread(values)} | {wanted(number)} "
            f"| {_cell(number['paper'])} |"
        )
    return "\n".join(rows)


def _spread(values: list[float]) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    if low == high:
        return f"{middle:.4g}"
    return f"{middle:.4g} ({low:.4g} to {high:.4g})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _anchor(title: str) -> str:
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -")
    return kept.replace(" ", "-")


if __name__ == "__main__":
    sys.exit(main())

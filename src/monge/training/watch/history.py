"""The curve on disk: history.csv, the same whether a training was interrupted or not.

It holds no clock times, and on a resume it is cut back to the checkpoint's step. Its last columns
have the method's headline once more, by names that are the same for all of them: what draws a
curve, `dvc plots` too, need not know the method.
"""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Mapping
from pathlib import Path

from monge.files import detach, storing, write_whole

HISTORY = "history.csv"
CURVE = ("headline", "headline_held_out")
"""The columns that every method has: the headline, and the same of held-out images."""

MEDIAN_ROWS = 11
"""Rows of the median-filtered view; the papers plot their curves through such a filter."""


class History:
    """Rows of figures, one a log step."""

    def __init__(self, folder: Path, step: int, headline: str) -> None:
        self.headline = headline
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / HISTORY
        cut(self.path, step)
        self._recent = _last_values(self.path, headline)

    def append(self, step: int, figures: Mapping[str, float]) -> dict[str, float]:
        """Write a row; the figures as written, with the running median beside the headline.

        One that is not finite is an empty cell and not returned: a norm whose squares overflow in a
        training that is about to diverge, which the guards say in their own words.
        """
        written = {name: float(f"{value:.9g}") for name, value in figures.items()}
        value = written.pop(self.headline)
        self._recent = [*self._recent, value][-MEDIAN_ROWS:]
        median = statistics.median(self._recent)
        first = {self.headline: value, f"{self.headline}_median": median}
        row = first | written
        curve = (value, written.get(f"{self.headline}_held_out", math.nan))
        cells = [*row.values(), *curve]
        detach(self.path)  # DVC may have linked it to its cache, even since the last row
        new = not self.path.exists()
        with storing(self.path), self.path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if new:
                writer.writerow(["step", *row, *CURVE])
            writer.writerow([step, *(f"{v:.9g}" if math.isfinite(v) else "" for v in cells)])
        return {name: value for name, value in row.items() if math.isfinite(value)}


def _last_values(path: Path, name: str) -> list[float]:
    """Read the values that the next row's median is of; nothing from a damaged file."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        try:
            return [float(row[name]) for row in csv.DictReader(file)][-MEDIAN_ROWS:]
        except (KeyError, TypeError, ValueError, csv.Error):
            return []


def cut(path: Path, step: int) -> None:
    """Drop the rows beyond `step`, and a last line that a kill tore."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    rows = [line for line in lines[1:] if line.endswith("\n") and _row_step(line) <= step]
    if rows and len(rows) == len(lines) - 1:
        return
    if not rows:  # a torn header, too, has none
        path.unlink()
        return
    write_whole(path, "".join(lines[:1] + rows).encode("utf-8"))


def _row_step(line: str) -> float:
    """The step of a row; beyond every step when it is no row (somebody's edit, a bad disk)."""
    first = line.partition(",")[0]
    return int(first) if first.isascii() and first.isdigit() else math.inf

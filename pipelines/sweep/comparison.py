"""All trials of a sweep side by side: one table, one picture."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monge.files import write_whole
from pipelines.sweep.plan import Plan
from pipelines.sweep.space import Range, change

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TABLE, PICTURE = "table.csv", "sweep.png"
_BLUE, _ORANGE, _GREY = "#1f5fa8", "#c8641e", "#b9c4d0"


@dataclass(frozen=True)
class Row:
    """A trial: its number, what became of it, its figure if it has one, and its parameters."""

    trial: int
    state: str
    value: float | None
    params: dict[str, Any]
    note: str


def best(rows: list[Row], direction: str) -> Row | None:
    """The trial with the best figure; the first of several."""
    judged = [row for row in rows if row.value is not None and row.state == "complete"]
    sign = 1.0 if direction == "minimize" else -1.0
    return min(judged, key=lambda row: (sign * _value(row), row.trial), default=None)


def write(place: Path, plan: Plan, rows: list[Row], direction: str) -> None:
    """Leave the table and the picture in the sweep's folder."""
    keys = list(plan.space)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["trial", "state", plan.figure, *keys, "note"])
    for row in rows:
        value = "" if row.value is None else repr(row.value)
        params = [change(key, row.params[key]).partition("=")[2] for key in keys]
        table.writerow([row.trial, row.state, value, *params, row.note])
    write_whole(place / TABLE, text.getvalue().encode("utf-8"))
    if best(rows, direction) is not None:
        write_whole(place / PICTURE, _picture(plan, rows, direction))


def _picture(plan: Plan, rows: list[Row], direction: str) -> bytes:
    """The figure against each parameter, and from trial to trial with the best so far."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    judged = [row for row in rows if row.value is not None and row.state == "complete"]
    panels = len(plan.space) + 1
    drawing = Figure(figsize=(3.4 * panels, 3.0), layout="constrained", dpi=110)
    FigureCanvasAgg(drawing)
    axes = drawing.subplots(1, panels, squeeze=False)[0]
    first = best(rows, direction)
    assert first is not None
    for one, (key, varied) in zip(axes, plan.space.items(), strict=False):
        _against(one, key, varied, judged, first)
    _in_turn(axes[-1], judged, direction)
    axes[0].set_ylabel(plan.figure)
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.tick_params(labelsize=8)
    drawn = io.BytesIO()
    drawing.savefig(drawn, format="png")
    return drawn.getvalue()


def _against(
    axes: Axes, key: str, varied: Range | tuple[Any, ...], rows: list[Row], first: Row
) -> None:
    if isinstance(varied, Range):
        places = [float(row.params[key]) for row in rows]
        axes.set_xscale("log" if varied.log else "linear")
    else:
        names = [str(value) for value in varied]
        places = [float(names.index(str(row.params[key]))) for row in rows]
        axes.set_xticks(range(len(names)), names)
        axes.set_xlim(-0.5, len(names) - 0.5)
    colours = [_ORANGE if row is first else _BLUE for row in rows]
    axes.scatter(places, [_value(row) for row in rows], c=colours, s=22)
    axes.set_title(key, fontsize=9)


def _in_turn(axes: Axes, rows: list[Row], direction: str) -> None:
    better = min if direction == "minimize" else max
    values = [_value(row) for row in rows]
    so_far = [better(values[: count + 1]) for count in range(len(values))]
    trials = [row.trial for row in rows]
    axes.plot(trials, values, ".", color=_BLUE)
    axes.step(trials, so_far, where="post", color=_ORANGE, linewidth=1.0)
    axes.set_title("trial, and the best so far", fontsize=9)


def _value(row: Row) -> float:
    assert row.value is not None
    return row.value

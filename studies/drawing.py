"""Gives figures one look: one size, one set of colours, no frame that says nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

COLOURS = ("#1f5fa8", "#c8641e", "#3d8a4a", "#8a4aa0", "#b9364a", "#6b6b6b", "#2a9d9d", "#a08a1e")
"""In the order in which lines take them: what is praised first, what it is compared with after."""

_PANEL_INCHES = 3.6


def panels(count: int, columns: int = 3, height: float = 0.85) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels in rows, and its axes in reading order."""
    columns = min(columns, count)
    rows = -(-count // columns)
    size = (_PANEL_INCHES * columns, _PANEL_INCHES * height * rows)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    for spare in axes[count:]:
        spare.set_visible(False)
    for one in axes[:count]:
        one.spines[["top", "right"]].set_visible(False)
        one.set_prop_cycle(color=COLOURS)
        one.tick_params(labelsize=8)
        one.xaxis.set_major_locator(MaxNLocator(5))
    return figure, list(axes[:count])


def named(axes: Axes, title: str, x: str = "", y: str = "", **legend: Any) -> None:
    """Give a panel its title and the names of its axes, and a legend where lines have names."""
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, frameon=False, **legend)

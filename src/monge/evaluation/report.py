"""The report of a judgement: `metrics.json`, pictures, and a table for the terminal."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monge.data.replacement import FolderReplacement
from monge.evaluation import pictures
from monge.evaluation.judgement import Judgement
from monge.files import write_whole

log = logging.getLogger(__name__)

METRICS = "metrics.json"
SAMPLES = "samples.png"
REAL = "real.png"
INTERPOLATIONS = "interpolations.png"
NEIGHBOURS = "neighbours.png"
LEARNING_CURVE = "learning_curve.png"
CLASS_BALANCE = "class_balance.png"
PICTURES = "pictures"
FILES = (SAMPLES, REAL, INTERPOLATIONS, NEIGHBOURS, LEARNING_CURVE, CLASS_BALANCE)

_INTERPOLATION_ROWS, _INTERPOLATION_STEPS = 6, 10

Interpolations = Callable[[int, int], NDArray[np.uint8]]


def write_report(
    judgement: Judgement,
    history_csv: Path | None,
    folder: Path,
    sample_interpolations: Interpolations | None,
) -> None:
    """Write `metrics.json` and the folder `pictures`, each whole or not at all.

    `history_csv` (columns step, wasserstein_estimate) gives the learning curve;
    `sample_interpolations` ((rows, steps) -> uint8 [rows, steps, H, W, C]) the interpolations. The
    old pictures go, so that none is left of an older judgement; the figures come last. Raises
    StorageError when the folder cannot be written.
    """
    with FolderReplacement(folder / PICTURES) as replacement:
        _draw(judgement, history_csv, replacement.partial, sample_interpolations)
        replacement.commit()
    text = json.dumps(document(judgement), indent=1, allow_nan=False) + "\n"
    write_whole(folder / METRICS, text.encode("utf-8"))


def document(judgement: Judgement) -> dict[str, Any]:
    """Build the content of `metrics.json`.

    Each protocol is in a list of one: `dvc metrics show` prints numbers and strings of nested
    mappings and leaves lists out, so its table stays one of figures.
    """
    return {
        name: {
            "value": figure.value,
            "noise": figure.noise,
            **({} if figure.floor is None else {"floor": figure.floor}),
            "better": figure.better,
            "protocol": [dict(figure.protocol)],
        }
        for name, figure in judgement.figures.items()
    }


def lines(judgement: Judgement) -> list[str]:
    """Align the figures in a table; `real` is held-out real images judged the same way."""
    rows = [("figure", "value", "", "noise", "real", "better")]
    for name, figure in judgement.figures.items():
        floor = "-" if figure.floor is None else f"{figure.floor:.4g}"
        noise = f"{figure.noise:.2g}"
        rows.append((name, f"{figure.value:.4g}", "±", noise, floor, figure.better))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}} {row[2]:1} {row[3]:<{widths[3]}}  "
        f"{row[4]:>{widths[4]}}  {row[5]}"
        for row in rows
    ]


def _draw(
    judgement: Judgement,
    history_csv: Path | None,
    folder: Path,
    sample_interpolations: Interpolations | None,
) -> None:
    pictures.grid(judgement.samples, "Generated images", folder / SAMPLES)
    pictures.grid(judgement.reals, "Real images", folder / REAL)
    pictures.neighbours(judgement.neighbours, folder / NEIGHBOURS)
    if sample_interpolations is not None:
        rows = sample_interpolations(_INTERPOLATION_ROWS, _INTERPOLATION_STEPS)
        pictures.interpolations(rows, folder / INTERPOLATIONS)
    if judgement.classes is not None:
        pictures.class_balance(judgement.classes, folder / CLASS_BALANCE)
    if history_csv is not None:
        history = pictures.read_history(history_csv)
        if history is None:
            log.warning("%s: no learning curve in it, so none is drawn", history_csv)
        else:
            pictures.learning_curve(*history, folder / LEARNING_CURVE)

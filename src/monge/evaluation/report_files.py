"""Writes a judgement to disk: `metrics.json` and the folder of pictures."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monge.data.replacement import FolderReplacement
from monge.evaluation import document, pictures
from monge.evaluation.judgement import Judgement
from monge.files import storing, write_whole

log = logging.getLogger(__name__)

METRICS = "metrics.json"
SAMPLES = "samples.png"
REAL = "real.png"
INTERPOLATIONS = "interpolations.png"
NEIGHBOURS = "neighbours.png"
LEARNING_CURVE = "learning_curve.png"
CLASS_BALANCE = "class_balance.png"
PICTURES = "pictures"
FAILURES = "failures.png"
RECONSTRUCTIONS = "reconstructions.png"
IMAGE_WALKS = "walks_between_images.png"
POSTERIOR = "posterior.png"
FILES = (
    SAMPLES, REAL, INTERPOLATIONS, RECONSTRUCTIONS, IMAGE_WALKS, POSTERIOR, NEIGHBOURS,
    LEARNING_CURVE, CLASS_BALANCE, FAILURES,
)  # fmt: skip

_INTERPOLATION_ROWS, _INTERPOLATION_STEPS = 6, 10


class Curve(NamedTuple):
    """A training's history (monge.training.watch.history), and what its headline is called."""

    history_csv: Path
    label: str


Interpolations = Callable[[int, int], NDArray[np.uint8]]


def write(
    judgement: Judgement,
    curve: Curve | None,
    folder: Path,
    sample_interpolations: Interpolations | None,
    made: Mapping[str, object] | None = None,
) -> None:
    """Write `metrics.json` and the folder `pictures`, each whole or not at all.

    `curve` gives the learning curve, `sample_interpolations` ((rows, steps) -> uint8 [rows, steps,
    H, W, C]) the interpolations; `made` is noted beside the figures. The old pictures go, so that
    none is left of an older judgement; the figures come last. Raises StorageError when the folder
    cannot be written.
    """
    with FolderReplacement(folder / PICTURES) as replacement:
        with storing(replacement.partial):
            _draw(judgement, curve, replacement.partial, sample_interpolations)
        replacement.commit()
    write_whole(folder / METRICS, document.to_bytes(document.entries(judgement.figures), made))


def _draw(
    judgement: Judgement,
    curve: Curve | None,
    folder: Path,
    sample_interpolations: Interpolations | None,
) -> None:
    pictures.grid(judgement.samples, "Generated images", folder / SAMPLES)
    pictures.grid(judgement.reals, "Real images", folder / REAL)
    pictures.neighbours(judgement.neighbours, folder / NEIGHBOURS)
    pictures.grid(judgement.failures, "Farthest from any real image", folder / FAILURES)
    if sample_interpolations is not None:
        rows = sample_interpolations(_INTERPOLATION_ROWS, _INTERPOLATION_STEPS)
        pictures.interpolations(rows, folder / INTERPOLATIONS)
    if judgement.returned is not None:
        found = judgement.returned
        pictures.reconstructions(found, folder / RECONSTRUCTIONS)
        pictures.walks_between_images(found.walks, folder / IMAGE_WALKS)
        pictures.posterior(found, folder / POSTERIOR)
    if judgement.classes is not None:
        pictures.class_balance(judgement.classes, folder / CLASS_BALANCE)
    if curve is not None:
        history = _read_history(curve.history_csv)
        if history is None:
            log.warning("%s: no learning curve in it, so none is drawn", curve.history_csv)
        else:
            pictures.learning_curve(curve.label, *history, folder / LEARNING_CURVE)


def _read_history(path: Path) -> tuple[pictures.Floats, pictures.Floats, pictures.Floats] | None:
    """Read a training's CSV: steps, its finite headline, and that of held-out images.

    The last are NaN where the file has none. None below two rows.
    """
    if not path.is_file():
        return None
    rows = []
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            try:
                pair = float(row["step"]), float(row["headline"])
                held_out = float(row.get("headline_held_out") or math.nan)
            except (KeyError, TypeError, ValueError):
                continue  # of an older training, or a line torn by a kill
            if all(map(math.isfinite, pair)):
                rows.append((*pair, held_out))
    if len(rows) < 2:
        return None
    steps, values, held = np.array(rows).T
    return steps, values, held

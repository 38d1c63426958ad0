"""The best, not the last: looks, during a training, at how near its images are to held-out ones.

A look is the Fréchet distance of an image pyramid (monge.metrics.pyramid) between images of the
averaged generator, from latents that stay, and held-out images that stay. What it finds is a
function of the weights, so a training that was killed finds the same.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from monge.data.batches import normalise
from monge.files import write_whole
from monge.metrics.frechet import Gaussian
from monge.metrics.pyramid import NAME, PyramidMoments, as_seen, pyramid_distance
from monge.training import labels
from monge.training.context import Training
from monge.training.state import TrainingState
from monge.training.watch.nearness import Nearness

TABLE = "quality.csv"
IMAGES = 2000
"""Generated images in a look, and held-out ones at the most."""

FEW = 100
"""With fewer held-out images than this the choice is said to rest on little."""

_HEADER = f"step,{NAME}"
_LATENT_SEED = 1781  # not the grids' nor the judge's
_AT_A_TIME = 250

log = logging.getLogger(__name__)


class Look(NamedTuple):
    """The figure that was found after `step` iterations; lower is better."""

    step: int
    figure: float


class Quality:
    """Looks every `quality_every` steps and at the end, and keeps a table of what it found.

    The table is beside the checkpoints and, on a resume, cut back to the checkpoint's step.
    """

    def __init__(self, training: Training, state: TrainingState) -> None:
        self.train, self.run, self.folder = training.params, training.run, training.folder
        self.dataset, self.device = training.dataset, state.noise.device
        self._images = training.dataset.validation
        on_disk = read(training.folder)
        self.looks = [look for look in on_disk if look.step <= state.step]
        if len(self.looks) < len(on_disk):
            write(training.folder, self.looks)

    @property
    def records(self) -> list[int]:
        """The steps that were the best so far when they were looked at, in order."""
        lowest = math.inf
        steps = []
        for step, figure in self.looks:
            if figure < lowest:
                lowest = figure
                steps.append(step)
        return steps

    def look(self, state: TrainingState) -> bool:
        """After each iteration: look if it is due; whether this is the best so far.

        A figure that is not finite is left out: the guards see to that.
        """
        if state.step % self.train.quality_every and state.step != self.train.steps:
            return False
        figure = float(f"{self._figure(state):.9g}")  # as a resumed training will read it
        if not math.isfinite(figure):
            return False
        self.looks.append(Look(state.step, figure))
        write(self.folder, self.looks)
        self.run.metrics({NAME: figure}, state.step)
        self._nearness.tell(figure, state.step, self.train.steps, self.folder)
        return self.records[-1] == state.step

    def _figure(self, state: TrainingState) -> float:
        made = PyramidMoments()
        for part in self._inputs.split(_AT_A_TIME):
            made.add(_as_shown(state.average.module, part))
        return pyramid_distance(made.gaussians(), self._held_out)

    @functools.cached_property
    def _inputs(self) -> labels.Inputs:
        return labels.fixed(self.train, self.dataset, _LATENT_SEED, IMAGES, self.device)

    @functools.cached_property
    def _nearness(self) -> Nearness:
        return Nearness(self.dataset, self._held_out)

    @functools.cached_property
    def _held_out(self) -> list[Gaussian]:
        """Describe images from all over the split."""
        places = self._images.spread(IMAGES)
        count = len(places)
        if count < FEW:
            log.warning(
                "%d held-out images are few to tell the best checkpoint by; more of them, or "
                "export.checkpoint: last", count,
            )  # fmt: skip
        moments = PyramidMoments()
        for first in range(0, count, _AT_A_TIME):
            part = self._images.take(places[first : first + _AT_A_TIME])
            moments.add(as_seen(normalise(torch.from_numpy(part))))
        return moments.gaussians()


def write(folder: Path, looks: Sequence[Look]) -> None:
    """Write the table beside the checkpoints anew. Raises StorageError."""
    lines = [_HEADER, *(f"{step},{figure:.9g}" for step, figure in looks)]
    write_whole(folder / TABLE, ("\n".join(lines) + "\n").encode("ascii"))


def read(folder: Path) -> list[Look]:
    """The table beside the checkpoints, in the order of the steps; rows that are none left out.

    So is a last one without its end, whose figure may be half of the figure.
    """
    path = folder / TABLE
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    header, *rows = [line.rstrip() for line in lines if line.endswith("\n")] or [""]
    if header != _HEADER:  # of another figure: not to be compared
        return []
    found = {look.step: look for look in map(_row, rows) if look is not None}
    return sorted(found.values())


def best(found: list[Look]) -> Look | None:
    """The lowest figure, the earliest of equals."""
    return min(found, key=lambda look: (look.figure, look.step), default=None)


def _row(line: str) -> Look | None:
    """A row, or None when it is none (somebody's edit, a bad disk)."""
    try:
        step, figure = line.split(",")
        look = Look(int(step), float(figure))
    except ValueError:
        return None
    return look if math.isfinite(look.figure) else None


@torch.no_grad()
def _as_shown(generator: torch.nn.Module, inputs: labels.Inputs) -> Tensor:
    """Images in −1..1, in the steps of the bytes that the exported file gives."""
    images = inputs.draw(generator)
    rounded = ((images + 1.0) * 127.5).round_().clamp_(0.0, 255.0).div_(127.5).sub_(1.0)
    return as_seen(rounded)

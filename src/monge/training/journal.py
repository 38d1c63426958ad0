"""What a training tells while it runs: a curve on disk, figures and grids to the run, progress."""

from __future__ import annotations

import csv
import logging
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from monge.files import write_whole
from monge.latents import latents
from monge.params import TrainParams
from monge.pictures import tile
from monge.tracking import Run
from monge.training.state import TrainingState

HISTORY = "history.csv"
GRID_IMAGES = 64
GRID_SEED = 0
_LOG_LINE_EVERY_S = 10.0

log = logging.getLogger(__name__)


class Journal:
    """Reads the device once every `log_every` steps and nowhere else.

    The curve holds no clock times, and on a resume it is cut back to the checkpoint's step, so an
    interrupted training leaves the same file as one that was not.
    """

    def __init__(self, train: TrainParams, folder: Path, run: Run, state: TrainingState) -> None:
        self.train, self.run = train, run
        folder.mkdir(parents=True, exist_ok=True)
        self.history = folder / HISTORY
        _cut(self.history, state.step)
        fixed = latents(GRID_SEED, 0, GRID_IMAGES, train.latent_dim)
        self.grid_latents = torch.from_numpy(fixed).to(state.noise.device)
        self.bar = tqdm(
            total=train.steps, initial=state.step, unit="it", desc="train", dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
        )  # fmt: skip
        self._last = self._began = (time.monotonic(), state.step)
        self._last_line_s = self._began[0] - _LOG_LINE_EVERY_S / 2

    def record(self, state: TrainingState, readings: Mapping[str, Tensor]) -> None:
        """After each iteration: log what is due."""
        self.bar.update()
        step = state.step
        if self.bar.disable and time.monotonic() - self._last_line_s >= _LOG_LINE_EVERY_S:
            self._line(step, float(readings.get("wasserstein_estimate", math.nan)))
        if step % self.train.log_every == 0 or step == self.train.steps:
            self._figures(step, {name: float(value) for name, value in readings.items()})
        if step % self.train.grid_every == 0 or step == self.train.steps:
            self.run.image("samples", self._grid(state), step)

    def close(self) -> None:
        """End the progress bar."""
        self.bar.close()

    def _figures(self, step: int, figures: dict[str, float]) -> None:
        self._append(step, figures)
        now, (then, step_then) = time.monotonic(), self._last
        steps_per_s = (step - step_then) / max(now - then, 1e-9)
        self._last = (now, step)
        rate = {"iterations_per_s": steps_per_s}
        self.run.metrics({**figures, **rate}, step)
        estimate = figures.get("wasserstein_estimate", math.nan)
        self.bar.set_postfix_str(f"wasserstein estimate {estimate:.4g}", refresh=False)

    def _line(self, step: int, estimate: float) -> None:
        """Progress where there is no terminal, by the clock: the first line comes soon."""
        self._last_line_s = now = time.monotonic()
        steps_per_s = (step - self._began[1]) / max(now - self._began[0], 1e-9)
        log.info(
            "step %d of %d, wasserstein estimate %.4g, %.3g it/s, %.0f s left",
            step, self.train.steps, estimate, steps_per_s,
            (self.train.steps - step) / max(steps_per_s, 1e-9),
        )  # fmt: skip

    def _append(self, step: int, figures: Mapping[str, float]) -> None:
        new = not self.history.exists()
        with self.history.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if new:
                writer.writerow(["step", *figures])
            writer.writerow([step, *(f"{value:.9g}" for value in figures.values())])

    @torch.no_grad()
    def _grid(self, state: TrainingState) -> np.ndarray:
        images = state.average.module(self.grid_latents)
        pixels = ((images + 1.0) * 127.5).round_().clamp_(0.0, 255.0).to(torch.uint8)
        return tile(pixels.permute(0, 2, 3, 1).cpu().numpy())


def _row_step(line: str) -> float:
    """The step of a row; beyond every step when it is no row (somebody's edit, a bad disk)."""
    first = line.partition(",")[0]
    return int(first) if first.isascii() and first.isdigit() else math.inf


def _cut(history: Path, step: int) -> None:
    """Drop the rows beyond `step`, and a last line that a kill tore."""
    if not history.exists():
        return
    lines = history.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    rows = [line for line in lines[1:] if line.endswith("\n") and _row_step(line) <= step]
    if len(rows) == len(lines) - 1:
        return
    if not rows:
        history.unlink()
        return
    write_whole(history, "".join(lines[:1] + rows).encode("utf-8"))

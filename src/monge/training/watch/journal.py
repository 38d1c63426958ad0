"""Tells of a training while it runs: a curve on disk, figures and grids to the run, progress."""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from monge.durations import duration
from monge.objectives import Objective, watch_of
from monge.training.context import Training
from monge.training.state import TrainingState
from monge.training.watch.curves import Curves
from monge.training.watch.grids import Grids
from monge.training.watch.history import History

_LOG_LINE_EVERY_S = 10.0
_SPEED_KNOWN_S = 20.0
_LONG_S = 3600.0

log = logging.getLogger(__name__)


class Journal:
    """Reads the device once every `log_every` steps, and at the sample grids."""

    def __init__(self, training: Training, objective: Objective, state: TrainingState) -> None:
        train = training.params
        self.train, self.run, self.batches = train, training.run, objective.batches
        self.headline = watch_of(train).headline
        self.history = History(training.folder, state.step, self.headline.name)
        self.curves = Curves(train, training.dataset, state.noise.device)
        self.grids = Grids(training, state)
        self.bar = tqdm(
            total=train.steps, initial=state.step, unit="it", desc="train", dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
        )  # fmt: skip
        self._last = self._began = _Moment(state.step)
        self._long_is_told = False
        self._last_line_s = self._began.wall_s - _LOG_LINE_EVERY_S / 2

    def record(self, state: TrainingState, readings: Mapping[str, Tensor]) -> None:
        """After each iteration: log what is due."""
        self.bar.update()
        step = state.step
        self._warn_if_long(step)
        if self.bar.disable and time.monotonic() - self._last_line_s >= _LOG_LINE_EVERY_S:
            self._line(step, float(readings.get(self.headline.name, math.nan)))
        if step % self.train.log_every == 0 or step == self.train.steps:
            self._figures(state, readings)
        self.grids.record(state)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        """End the progress bar, also where the training ends with an error."""
        self.bar.close()

    def _figures(self, state: TrainingState, readings: Mapping[str, Tensor]) -> None:
        measured = {**self.curves.measure(state), **readings}
        together = torch.stack([value.float() for value in measured.values()]).tolist()
        rate = float(state.optimizers["generator"].param_groups[0]["lr"])
        figures = dict(zip(measured, together, strict=True)) | {"learning_rate": rate}
        written = self.history.append(state.step, figures)
        now = _Moment(state.step)
        self.run.metrics({**written, **self._pace(now)}, state.step)
        self._last = now
        told = f"{self.headline.title.lower()} {figures[self.headline.name]:.4g}"
        self.bar.set_postfix_str(told, refresh=False)

    def _pace(self, now: _Moment) -> dict[str, float]:
        """Rates since the last figures, and the memory; none of it is in the curve on disk."""
        seconds = max(now.wall_s - self._last.wall_s, 1e-9)
        rate = (now.step - self._last.step) / seconds
        pace = {
            "iterations_per_s": rate,
            "images_per_s": rate * self.batches * self.train.batch_size,  # real ones
            "cpu_utilisation": (now.cpu_s - self._last.cpu_s) / seconds,
        }
        memory = _memory_bytes()
        return pace if memory is None else pace | {"memory_mib": memory / 2**20}

    def _line(self, step: int, value: float) -> None:
        """Progress where there is no terminal, by the clock: the first line comes soon."""
        self._last_line_s = time.monotonic()
        steps_per_s = self._steps_per_s(step)
        log.info(
            "step %d of %d, %s %.4g, %.3g it/s, %s left",
            step, self.train.steps, self.headline.title.lower(), value, steps_per_s,
            duration((self.train.steps - step) / max(steps_per_s, 1e-9)),
        )  # fmt: skip

    def _steps_per_s(self, step: int) -> float:
        passed_s = time.monotonic() - self._began.wall_s
        return (step - self._began.step) / max(passed_s, 1e-9)

    def _warn_if_long(self, step: int) -> None:
        """Once, when the speed is known: a training of hours is a thing to decide about."""
        if self._long_is_told or time.monotonic() - self._began.wall_s < _SPEED_KNOWN_S:
            return
        self._long_is_told = True
        steps_per_s = self._steps_per_s(step)
        left_s = (self.train.steps - step) / max(steps_per_s, 1e-9)
        if left_s > _LONG_S:
            log.warning(
                "this training takes about %s more on this machine. An hour is enough for "
                "train.steps=%d; a narrower network or smaller images (train.dcgan.features, "
                "prepare.resolution) make more of it. `auto` chooses them for MINUTES",
                duration(left_s), max(1, round(_LONG_S * steps_per_s)),
            )  # fmt: skip


class _Moment:
    """A step, and what the clocks say at it."""

    def __init__(self, step: int) -> None:
        self.step, self.wall_s, self.cpu_s = step, time.monotonic(), time.process_time()


def _memory_bytes() -> int | None:
    """On a GPU what torch has allocated at most, else this process's resident set, if known."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return torch.cuda.max_memory_allocated()
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None

"""Times an iteration here: a few of them, in a training that is thrown away."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from monge import objectives
from monge.data.batches import Batch, Batches, normalise
from monge.data.packed import PackedDataset
from monge.params import TrainParams
from monge.training import labels
from monge.training.machine.capture import WARM_UP, launcher
from monge.training.machine.execution import execution
from monge.training.machine.processor import processor
from monge.training.machine.ranks import Ranks
from monge.training.schedule import set_schedules
from monge.training.state import TrainingState

TIMED_ITERATIONS = 20
TIMED_S = 10.0
"""Time no more iterations than so many and, after a first batch, no longer than so long."""


@dataclass(frozen=True)
class Timing:
    """The seconds of an iteration, and what they were found from: `20 iterations timed`."""

    each_s: float
    found_from: str
    peak_bytes: int | None = None
    """The GPU's memory, as torch counted it."""


class _Enough(Exception):
    """Raised into an iteration that takes too long to be waited for."""


class _Reals:
    """Real batches, one after the other, until it is too late for another one."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self.batches = batches
        self.until_s = time.monotonic() + TIMED_S
        self.taken = 0

    @property
    def over(self) -> bool:
        """Tell whether the time is up."""
        return time.monotonic() > self.until_s

    def __iter__(self) -> _Reals:
        return self

    def __next__(self) -> Batch:
        if self.taken and self.over:
            raise _Enough
        self.taken += 1
        return next(self.batches)


def timed(
    train: TrainParams, dataset: PackedDataset, batches: Batches, device: torch.device, step: int
) -> Timing:
    """Time iterations like those after `step`; where images would be kept, one batch of them is.

    The first ones are slower and not counted, unless they are all that there is time for.
    """
    objective = objectives.build(train, execution(train, device, Ranks()))
    state = TrainingState.of(train, objective, dataset, device)
    state.step = next(
        s for s in itertools.count(step) if objective.batches_at(s) == objective.batches
    )
    iterate = launcher(train, objective, state)
    if batches.resident:
        places = np.arange(train.batch_size) % len(dataset.train)
        images = normalise(torch.from_numpy(dataset.train.take(places))).to(device)
        known = labels.of(train, dataset.train, places, device)
        reals = _Reals(itertools.repeat(Batch(images, known)))
    else:
        reals = _Reals(batches.starting_at(objective.batches_before(state.step)))

    def iterations(most: int) -> Timing:
        before, began_s = reals.taken, time.monotonic()
        done, ended_s = 0, began_s
        try:
            while done < most and not (done and reals.over):
                set_schedules(state, objective.rates, train)
                iterate(reals)
                state.follow(train.batch_size, train.batch_size)
                done, ended_s = done + 1, time.monotonic()
        except _Enough:
            if done == 0:  # the generator's step is counted as one more batch
                taken = reals.taken - before
                each_s = (time.monotonic() - began_s) / taken * (objective.batches + 1)
                return Timing(each_s, f"{_count(taken, 'batch', 'batches')} of one timed")
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            ended_s = time.monotonic()
        each_s = (ended_s - began_s) / done
        return Timing(each_s, f"{_count(done, 'iteration', 'iterations')} timed", _peak(device))

    with processor(train, state.weights):
        first = iterations(1 if device.type == "cpu" else WARM_UP + 1)
        return first if reals.over else iterations(TIMED_ITERATIONS)


def _peak(device: torch.device) -> int | None:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def _count(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"

"""Launches an iteration: call by call, or recorded once and replayed by the GPU.

A small network on a GPU waits for Python: an iteration is hundreds of kernels of some
microseconds. A CUDA graph holds them all and is launched by one call; recording it costs about as
much as one iteration. What goes in has a fixed place in memory (the real images, the learning rate,
the state of the random numbers), and so has what comes out (the weights, the readings).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from monge.objectives import Objective, Reals
from monge.params import TrainParams
from monge.training.state import TrainingState

WARM_UP = 3
"""Iterations before recording: libraries choose their kernels and optimizers make their state."""

Readings = dict[str, Tensor]
Iterate = Callable[[Reals], Readings]

log = logging.getLogger(__name__)


def launcher(train: TrainParams, objective: Objective, state: TrainingState) -> Iterate:
    """A function from real batches to readings that does the iteration after `state.step`."""
    plain = _Plain(objective, state)
    graph = _wants_graph(train.capture, state.noise.device)
    return _Recorded(objective, state, plain) if graph else plain


def _wants_graph(wanted: str, device: torch.device) -> bool:
    if wanted == "graph" and device.type != "cuda":
        log.warning("train.capture: graph: a CPU records nothing; iterations run call by call")
    return wanted == "graph" or (wanted == "auto" and device.type == "cuda")


class _Plain:
    """The iteration as Python makes it."""

    def __init__(self, objective: Objective, state: TrainingState) -> None:
        self.objective, self.state = objective, state

    def __call__(self, reals: Reals) -> Readings:
        state = self.state
        count = self.objective.batches_at(state.step)
        return self.objective.iterate(state.networks, state.optimizers, reals, state.noise, count)


class _Recorded:
    """The iteration as a graph: the first `WARM_UP` call by call, then recorded, then replayed.

    An iteration with another number of batches than the recorded one runs call by call. On a
    CPU there is nothing to record, and the same buffers are used by the plain calls.
    """

    def __init__(self, objective: Objective, state: TrainingState, plain: _Plain) -> None:
        self.objective, self.state, self.plain = objective, state, plain
        self.calls = 0
        self.buffers: list[Any] = []  # batches, in their place
        self.graph: torch.cuda.CUDAGraph | None = None
        self.readings: Readings = {}

    def __call__(self, reals: Reals) -> Readings:
        if self.objective.batches_at(self.state.step) != self.objective.batches:
            return self.plain(reals)
        self._take(reals)
        self.calls += 1
        if self.state.noise.device.type != "cuda":
            return self._iterate()
        if self.calls <= WARM_UP:
            return self._aside()
        if self.graph is None:
            self._record()
        assert self.graph is not None
        self.graph.replay()
        return self.readings

    def _take(self, reals: Reals) -> None:
        """Bring the iteration's real images, and labels, to where the graph reads them."""
        batches = [next(reals) for _ in range(self.objective.batches)]
        if not self.buffers:
            self.buffers = [tuple(map(_like, batch)) for batch in batches]
        torch._foreach_copy_(_flat(self.buffers), _flat(batches))

    def _iterate(self) -> Readings:
        return self.plain(iter(self.buffers))

    def _aside(self) -> Readings:
        """One iteration on another stream, as recording wants its warm-up to be."""
        here, aside = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            readings = self._iterate()
        here.wait_stream(aside)
        return readings

    def _record(self) -> None:
        """Record an iteration; nothing is computed, and no random number is drawn."""
        self.graph = torch.cuda.CUDAGraph()
        self.graph.register_generator_state(self.state.noise.generator)
        # Other threads read images and write checkpoints meanwhile; only this one is recorded.
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.readings = self._iterate()


def _like(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else torch.empty_like(tensor)


def _flat(batches: Sequence[tuple[Tensor | None, ...]]) -> list[Tensor]:
    return [tensor for batch in batches for tensor in batch if tensor is not None]

"""Computes what follows the step alone, so that a resumed training needs no memory of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from monge.params import TrainParams
from monge.training.state import TrainingState

DECAYS: dict[str, Callable[[float], float]] = {
    "none": lambda progress: 1.0,
    "linear": lambda progress: 1.0 - progress,
    "exponential": lambda progress: 0.01**progress,
    "steps": lambda progress: 1.0 if progress < 0.3 else 0.5 if progress < 0.5 else 0.1,
}
"""The factors of a rate at a share of `train.steps`: linear to zero; the two of the code
of Tolstikhin et al. 2018, smooth to a hundredth, or halved at 30 of 100 epochs and a fifth of that
from 50 on (they are called manual_smooth and manual there)."""


def set_schedules(
    state: TrainingState, rates: Mapping[str, float], train: TrainParams, factor: float = 1.0
) -> None:
    """Before an iteration: each role's learning rate, and the progress that methods anneal by.

    A rate is times `factor`, and falls as `train.learning_rate_decay` says.
    """
    progress = state.step / train.steps
    state.noise.progress.fill_(progress)
    for role, optimizer in state.optimizers.items():
        base = rates[role] * factor * DECAYS[train.learning_rate_decay](progress)
        for group in optimizer.param_groups:
            if isinstance(group["lr"], Tensor):  # on a GPU, where a recorded graph reads it
                group["lr"].fill_(base)
            else:
                group["lr"] = base

"""What follows the step: a resumed training needs no memory of it, as it is computed from there."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from monge.params import TrainParams
from monge.training.state import TrainingState


def set_schedules(
    state: TrainingState, rates: Mapping[str, float], train: TrainParams, factor: float = 1.0
) -> None:
    """Before an iteration: each role's learning rate, and the progress that methods anneal by.

    A rate is times `factor`: constant, or linear from step 0 to zero at `train.steps`.
    """
    progress = state.step / train.steps
    state.noise.progress.fill_(progress)
    for role, optimizer in state.optimizers.items():
        base = rates[role] * factor
        if train.learning_rate_decay == "linear":
            base *= 1.0 - progress
        for group in optimizer.param_groups:
            if isinstance(group["lr"], Tensor):  # on a GPU, where a recorded graph reads it
                group["lr"].fill_(base)
            else:
                group["lr"] = base

"""The learning rate as a function of the step, so that a resumed training needs no memory of it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from monge.params import TrainParams


def set_learning_rate(
    optimizers: Mapping[str, torch.optim.Optimizer],
    rates: Mapping[str, float],
    train: TrainParams,
    step: int,
    factor: float = 1.0,
) -> None:
    """Each role's rate times `factor`: constant, or linear from step 0 to zero at `train.steps`."""
    for role, optimizer in optimizers.items():
        base = rates[role] * factor
        if train.learning_rate_decay == "linear":
            base *= 1.0 - step / train.steps
        for group in optimizer.param_groups:
            if isinstance(group["lr"], Tensor):  # on a GPU, where a recorded graph reads it
                group["lr"].fill_(base)
            else:
                group["lr"] = base

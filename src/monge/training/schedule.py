"""The learning rate as a function of the step, so that a resumed training needs no memory of it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from monge.params import TrainParams


def set_learning_rate(
    optimizers: Mapping[str, torch.optim.Optimizer], base: float, train: TrainParams, step: int
) -> None:
    """Constant, or linear from `base` at step 0 to zero at `train.steps`."""
    if train.learning_rate_decay == "linear":
        base *= 1.0 - step / train.steps
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            if isinstance(group["lr"], Tensor):  # on a GPU, where a recorded graph reads it
                group["lr"].fill_(base)
            else:
                group["lr"] = base

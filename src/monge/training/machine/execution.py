"""Computes this training's iterations: in parts, in a precision, on a number of ranks."""

from __future__ import annotations

import torch

from monge.objectives import Execution
from monge.params import TrainParams
from monge.training.machine.precision import fast
from monge.training.machine.ranks import Ranks


def execution(train: TrainParams, device: torch.device, ranks: Ranks) -> Execution:
    """Gather what `objectives.build` is to know of it."""
    precision = fast(train.precision, device)
    if ranks.world == 1:
        return Execution(train.accumulate, precision)
    return Execution(train.accumulate, precision, ranks.average, ranks.gather)

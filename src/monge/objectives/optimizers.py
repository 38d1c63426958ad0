"""What a learning rate is to an optimizer: a number, or on a GPU a tensor that graphs can read."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def rate(network: nn.Module, learning_rate: float) -> dict[str, Any]:
    """Arguments for an optimizer of the network's weights.

    A recorded graph replays the numbers it was recorded with, so on a GPU the rate and the
    optimizer's counters are kept in tensors there.
    """
    device = next(network.parameters()).device
    if device.type == "cpu":
        return {"lr": learning_rate}
    return {"lr": torch.tensor(learning_rate, device=device), "capturable": True}

"""First weights for networks in which no norm sets the scale of what goes from layer to layer."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

Initialisation = Literal["small", "he"]
"""The first weights of a critic: as the family has them, or by He et al."""


def he(network: nn.Sequential, slope: float) -> None:
    """Normal weights of variance 2 / ((1 + slope^2) inputs) in every layer, and no biases.

    He et al. 2015, equation 15, for rectifiers of this slope below 0: what comes out of a layer has
    the mean square of what went in. What compares a batch's images keeps the weights it has.
    """
    for layer in network:
        if not isinstance(layer, nn.Conv2d | nn.Linear) or layer.weight.is_meta:
            continue
        nn.init.kaiming_normal_(layer.weight, slope)
        if layer.bias is not None:
            with torch.no_grad():
                layer.bias.zero_()

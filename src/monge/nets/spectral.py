"""Spectral norm: each layer of a critic divided by its weight's largest singular value.

Miyato et al. 2018, section 2 and algorithm 1. The layers are then 1-Lipschitz, and with ReLUs
between them so is the critic. Of a convolution it is the value of its kernel as a matrix [outputs,
inputs k k], as they take it, which bounds that of the convolution itself within a factor of k.

The value is u W v, with two vectors that follow the weight by a step of the power method before
each step of the optimizer, as theirs do; a checkpoint has them. torch's own takes such a step
whenever the network is called, so that a batch in parts would be scored by several networks.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

_AT_FIRST = 15
"""Steps of the power method for the first weights, as torch takes them."""


class Spectral(nn.Module):
    """Computes a layer's weight from the one that is trained."""

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        rows = weight.flatten(1)
        self.register_buffer("u", F.normalize(torch.randn_like(rows[:, 0]), dim=0))
        self.register_buffer("v", F.normalize(torch.randn_like(rows[0]), dim=0))
        for _ in range(_AT_FIRST):
            self.follow(weight)

    def forward(self, weight: Tensor) -> Tensor:
        """The weight divided by its largest singular value; [outputs, ...], as it came."""
        u, v = self.u.clone(), self.v.clone()  # they may move before the backward pass
        return weight / (u @ weight.flatten(1) @ v)

    @torch.no_grad()
    def follow(self, weight: Tensor) -> None:
        """A step of the power method."""
        rows = weight.flatten(1)
        self.v.copy_(F.normalize(rows.T @ self.u, dim=0))
        self.u.copy_(F.normalize(rows @ self.v, dim=0))


def hold(network: nn.Module) -> None:
    """Divide every weight of a convolution or a linear layer, which has its first numbers."""
    for layer in [*network.modules()]:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            parametrize.register_parametrization(layer, "weight", Spectral(layer.weight.detach()))


def follow(network: nn.Module) -> None:
    """Before a step of its optimizer; nothing in a network that is not held."""
    for module in network.modules():
        if isinstance(module, parametrize.ParametrizationList) and isinstance(module[0], Spectral):
            module[0].follow(module.original)

"""Spectral norm: each layer of a critic divided by its weight's largest singular value.

Miyato et al. 2018, section 2. The layers are then 1-Lipschitz, and with ReLUs between them so is
the critic. Of a convolution it is the value of its kernel as a matrix [outputs, inputs k k], as
they take it, which bounds that of the convolution itself within a factor of k.

The value is followed by one step of the power method each time the network is called while it
trains; the vectors are buffers, so that a checkpoint has them.
"""

from __future__ import annotations

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm


def hold(network: nn.Module) -> None:
    """Divide every weight of a convolution or a linear layer, which has its first numbers."""
    for layer in [*network.modules()]:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            spectral_norm(layer)

"""Virtual batch norm: a generator's layers are normed by one batch that never changes.

Salimans et al. 2016, section 3.5. Before training a batch of latents is drawn, the reference. It
goes through the network in front of every other batch, with the weights of the moment, and at each
norm its mean m and variance v, for each channel, norm all rows: (x - m) / sqrt(v + eps), times a
scale and plus an offset that are trained. So no image depends on those it is made with, and
gradients go through m and v as well.

In the paper and in its code the image itself counts as one more row of the reference, with the
weight 1/(n + 1). Here it does not: each norm would then be another map for each image, and not the
affine one that the layer before it can take in, which is why a trained generator computes no norm
at all (`at_rest`). The reference is drawn with the first weights and kept with them, in checkpoints
too: it is the same one on all ranks and in all parts of a batch.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from monge.nets.labels import joined

REFERENCE = 64
"""Rows of the reference: the size of DCGAN's batches."""


class VirtualBatchNorm(nn.Module):
    """Rows [n, channels, ...], the reference's in front, to the same rows, all of them normed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = 1e-5

    def forward(self, rows: Tensor) -> Tensor:
        mean, variance = statistics(rows)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shape = (-1, *(1 for _ in rows.shape[2:]))
        normed = (rows - mean.view(shape)) * scale.view(shape) + self.bias.view(shape)
        return normed.to(rows.dtype)


def statistics(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance [channels] of the reference, which is in front; in float32 at least."""
    reference = rows[:REFERENCE]
    reference = reference.to(torch.promote_types(reference.dtype, torch.float32))
    variance, mean = torch.var_mean(reference, [0, *range(2, rows.dim())], correction=0)
    return mean, variance


def drawn(latent_dim: int, classes: int) -> Tensor:
    """A reference [n, z + classes] for a generator, with every label in turn."""
    labels = torch.arange(REFERENCE) % max(1, classes)
    return joined(torch.randn(REFERENCE, latent_dim), labels, classes)


def through(net: nn.Module, rows: Tensor, reference: Tensor | None) -> Tensor:
    """Run the network on rows, with the reference, if it has one, in front of them."""
    made: Tensor = net(rows if reference is None else torch.cat([reference, rows]))
    return made if reference is None else made[len(reference) :]


@torch.no_grad()
def at_rest(network: nn.Module) -> None:
    """Fix every virtual norm of a trained network: from then on it is a plain batch norm's.

    The reference's statistics are those of the weights that the network has, in float64; the
    reference is dropped. A network that has none stays as it is.
    """
    reference, net = getattr(network, "reference", None), getattr(network, "net", None)
    if reference is None:
        return
    assert isinstance(net, nn.Sequential)
    rows = reference.double()
    for place, layer in enumerate(copy.deepcopy(net).double()):
        if isinstance(layer, VirtualBatchNorm):
            net[place] = _fixed(layer, rows).to(reference)
        rows = layer(rows)
    network.register_buffer("reference", None)


def _fixed(layer: VirtualBatchNorm, rows: Tensor) -> nn.Module:
    """A batch norm that has the reference's statistics for good."""
    kind = nn.BatchNorm2d if rows.dim() == 4 else nn.BatchNorm1d
    norm = kind(rows.shape[1], layer.eps).double().eval()
    mean, variance = statistics(rows)
    norm.load_state_dict(
        {**layer.state_dict(), "running_mean": mean, "running_var": variance}, strict=False
    )
    return norm

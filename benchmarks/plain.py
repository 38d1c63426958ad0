"""Networks as a textbook writes them, with the same weights: what monge's are compared with."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from monge.nets.dcgan import Upsample
from monge.nets.residual import DownBlock, UpBlock


class PlainUp(UpBlock):
    """Upsample, convolve, and upsample before the shortcut's convolution."""

    def forward(self, maps: Tensor, labels: Tensor | None = None) -> Tensor:
        first = self.order == "first"
        hidden = F.relu(_normed(self.norm1, maps, labels))
        hidden = self.conv1(_doubled(hidden) if first else hidden)
        hidden = F.relu(_normed(self.norm2, hidden, labels))
        hidden = self.conv2(hidden if first else _doubled(hidden))
        summed: Tensor = hidden + self.shortcut(_doubled(maps))
        return summed


class PlainDown(DownBlock):
    """Convolve, then take the mean, on the shortcut too."""

    def forward(self, maps: Tensor) -> Tensor:
        hidden = F.relu(self.norm1(maps)) if self.activate else maps
        hidden = self.conv2(F.relu(self.norm2(self.conv1(hidden))))
        beside = self.shortcut(maps)
        if not self.halve:
            return hidden + beside  # type: ignore[no-any-return]
        return F.avg_pool2d(hidden, 2) + F.avg_pool2d(beside, 2)


_PLAIN: dict[type[nn.Module], type[nn.Module]] = {
    Upsample: nn.ConvTranspose2d, UpBlock: PlainUp, DownBlock: PlainDown,
}  # fmt: skip


def plain(network: nn.Module) -> nn.Module:
    """Let a network's layers compute as the textbook has them; the same network."""
    for layer in network.modules():
        if type(layer) in _PLAIN:
            layer.__class__ = _PLAIN[type(layer)]
    return network


def _doubled(maps: Tensor) -> Tensor:
    return F.interpolate(maps, scale_factor=2, mode="nearest")


def _normed(norm: nn.Module, maps: Tensor, labels: Tensor | None) -> Tensor:
    normed: Tensor = norm(maps) if labels is None else norm(maps, labels)
    return normed

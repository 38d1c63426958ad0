"""Residual blocks of Gulrajani et al. 2017: pre-activation, and the sum of both ways unscaled.

A block is norm, ReLU, 3x3 convolution, twice; beside it a 1x1 convolution where the width or the
size changes, and else the maps as they are. A convolution that a norm follows has no bias.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monge.nets.labels import one_hot

Norm = Literal["none", "layer"]
Order = Literal["first", "second"]


class ConditionalBatchNorm2d(nn.Module):
    """Batch norm whose scale and offset are those of each image's class.

    Maps [n, C, h, w] and labels [n] to [n, C, h, w]: mean and variance are of the whole batch, as
    Dumoulin et al. 2017, equation 5, and `scale` and `offset` are tables [classes, C].
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width, affine=False)
        self.scale = nn.Parameter(torch.ones(classes, width))
        self.offset = nn.Parameter(torch.zeros(classes, width))

    def forward(self, maps: Tensor, labels: Tensor | None) -> Tensor:
        theirs = one_hot(labels, len(self.scale), self.scale.dtype)
        scale, offset = (theirs @ table for table in (self.scale, self.offset))
        normed: Tensor = self.norm(maps) * scale[:, :, None, None] + offset[:, :, None, None]
        return normed


class UpBlock(nn.Module):
    """Maps [n, inputs, h, w] to [n, width, 2h, 2w], by nearest-neighbour upsampling.

    `order` says before which of the two convolutions the maps are upsampled: the first, as in the
    authors' code, or the second, as in their appendix F. The 1x1 convolution of the shortcut comes
    before its upsampling, which gives the same for a quarter of the products.
    """

    def __init__(self, inputs: int, width: int, order: Order = "first", classes: int = 0) -> None:
        super().__init__()
        self.order = order
        self.norm1 = _batch_norm(inputs, classes)
        self.conv1 = convolution(inputs, width, bias=False)
        self.norm2 = _batch_norm(width, classes)
        self.conv2 = convolution(width, width)
        self.shortcut = convolution(inputs, width, 1, he=False)

    def forward(self, maps: Tensor, labels: Tensor | None = None) -> Tensor:
        first = self.order == "first"
        hidden = F.relu(_normed(self.norm1, maps, labels))
        hidden = of_doubled(self.conv1, hidden) if first else self.conv1(hidden)
        hidden = F.relu(_normed(self.norm2, hidden, labels))
        hidden = self.conv2(hidden) if first else of_doubled(self.conv2, hidden)
        summed: Tensor = hidden + doubled(self.shortcut(maps))
        return summed


class DownBlock(nn.Module):
    """Maps [n, inputs, h, w] to [n, width, h/2, w/2], or without `halve` to [n, width, h, w].

    The mean of each 2x2 is taken after the second convolution, and on the shortcut before its 1x1
    convolution, which gives the same as after it. `activate` leaves the norm and ReLU before the
    first convolution out where it is false: the block that sees the image has none.
    """

    def __init__(
        self, inputs: int, width: int, norm: Norm, *, halve: bool = True, activate: bool = True
    ) -> None:
        super().__init__()
        self.halve, self.activate = halve, activate
        between = inputs if activate else width
        self.norm1 = norm_layer(norm if activate else "none", inputs)
        self.conv1 = convolution(inputs, between, bias=norm == "none")
        self.norm2 = norm_layer(norm, between)
        self.conv2 = convolution(between, width)
        changes = halve or inputs != width
        self.shortcut = convolution(inputs, width, 1, he=False) if changes else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        hidden = F.relu(self.norm1(maps)) if self.activate else maps
        hidden = F.relu(self.norm2(self.conv1(hidden)))
        if not self.halve:
            return self.conv2(hidden) + self.shortcut(maps)  # type: ignore[no-any-return]
        summed: Tensor = halved(self.conv2, hidden) + self.shortcut(F.avg_pool2d(maps, 2))
        return summed


def doubled(maps: Tensor) -> Tensor:
    """Each pixel four times: [n, C, h, w] to [n, C, 2h, 2w]."""
    return F.interpolate(maps, scale_factor=2, mode="nearest")


def of_doubled(layer: nn.Conv2d, maps: Tensor) -> Tensor:
    """A 3x3 convolution of the doubled map, as one transposed convolution of the map.

    Of 36 products for four pixels it leaves 16, since neighbours of a doubled map are alike.
    """
    return F.conv_transpose2d(maps, of_doubled_kernel(layer.weight), layer.bias, 2, 1)


def halved(layer: nn.Conv2d, maps: Tensor) -> Tensor:
    """The mean of each 2x2 of a 3x3 convolution, as one convolution of every other place.

    Again 16 products in the place of 36: the mean is taken of the kernel.
    """
    return F.conv2d(maps, halved_kernel(layer.weight), layer.bias, 2, 1)


def of_doubled_kernel(kernel: Tensor) -> Tensor:
    """Turn a kernel [out, in, 3, 3] into that of `of_doubled`, [in, out, 4, 4].

    In one dimension, of taps w0, w1, w2: y[2p] = w0 x[p-1] + (w1 + w2) x[p] and
    y[2p + 1] = (w0 + w1) x[p] + w2 x[p+1].
    """
    for axis in (2, 3):
        first, middle, last = torch.split(kernel, 1, axis)
        kernel = torch.cat([last, middle + last, first + middle, first], axis)
    return kernel.transpose(0, 1)


def halved_kernel(kernel: Tensor) -> Tensor:
    """Turn a kernel [out, in, 3, 3] into that of `halved`, [out, in, 4, 4]: a mean of shifts."""
    for axis in (2, 3):
        first, middle, last = torch.split(kernel / 2.0, 1, axis)
        kernel = torch.cat([first, first + middle, middle + last, last], axis)
    return kernel


def norm_layer(norm: Norm, width: int) -> nn.Module:
    """A norm by name; `layer` is over channels and pixels of an image (Ba et al. 2016)."""
    if norm == "layer":
        return nn.GroupNorm(1, width)
    return nn.Identity()


def convolution(
    inputs: int, width: int, kernel: int = 3, *, he: bool = True, bias: bool = True
) -> nn.Conv2d:
    """A convolution that keeps the size, from the authors' uniform distribution.

    Its variance is 4 / (fan in + fan out), that of He et al. 2015 where both are alike, before or
    between ReLUs, and else (`he` false) 2 / (fan in + fan out), as Glorot and Bengio 2010.
    """
    layer = nn.Conv2d(inputs, width, kernel, padding=kernel // 2, bias=bias)
    if layer.weight.is_meta:
        return layer  # no numbers to draw
    nn.init.xavier_uniform_(layer.weight, math.sqrt(2.0) if he else 1.0)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer from the distribution of Glorot and Bengio 2010."""
    layer = nn.Linear(inputs, outputs)
    if not layer.weight.is_meta:
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    return layer


def _batch_norm(width: int, classes: int) -> nn.Module:
    return ConditionalBatchNorm2d(width, classes) if classes else nn.BatchNorm2d(width)


def _normed(norm: nn.Module, maps: Tensor, labels: Tensor | None) -> Tensor:
    conditional = isinstance(norm, ConditionalBatchNorm2d)
    normed: Tensor = norm(maps, labels) if conditional else norm(maps)
    return normed

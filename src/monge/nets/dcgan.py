"""DCGAN (Radford et al. 2016) from 8 to 128 pixels, squares and other rectangles.

At 64 pixels and f features the generator is z -> 16f -> 8f -> 4f -> 2f -> C and the critic
C -> f -> 2f -> 4f -> 8f -> 1. Every other size drops or adds blocks at the narrow spatial end, so
that the layers next to the pixels stay the same. All kernels are 4 and all strides 2, save where
the image is 1x1: that layer's kernel is the smallest map, 4x4 at a power of two and, say, 4x6 for
images of 32x48.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from monge import sizes
from monge.nets import initial, spectral, virtual
from monge.nets.labels import joined, score
from monge.nets.minibatch import MinibatchDiscrimination

CriticNorm = Literal["instance", "batch", "spectral", "none"]
_SLOPE = 0.2
"""The slope of a critic's rectifiers below 0."""
_MANY_CHANNELS = 256
"""The input channels from which on a matrix product is quicker than oneDNN's convolution."""


def _doublings(image_shape: tuple[int, int, int]) -> tuple[int, tuple[int, int]]:
    """Count the stride-2 layers from the smallest map to the image, and give the map's (h, w)."""
    _, height, width = image_shape
    doublings = sizes.doublings(height, width, "dcgan")
    return doublings, (height >> doublings, width >> doublings)


def _initialise(module: nn.Module) -> None:
    """Convolutions from N(0, 0.02), as in Radford et al. 2016, section 4."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        if module.weight.is_meta:
            return  # no numbers to draw, and torch's way to draw none takes a second
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Upsample(nn.ConvTranspose2d):
    """A transposed convolution; of many channels, from 4x4 maps on a CPU, one matrix product.

    A kernel of 4 with stride 2 and padding 1 adds to each output pixel the products of four of the
    16 kernel positions. On a map so small, with so many channels, the product
    [n h w, inputs] x [inputs, 16 outputs] runs at the machine's peak, and oneDNN's transposed
    convolution at half of it; with fewer, or on larger maps, the additions cost more than that
    gains (docs/lab-log.md).
    """

    def forward(self, maps: Tensor, output_size: list[int] | None = None) -> Tensor:
        small = maps.shape[2:] == (4, 4) and self.stride == (2, 2)
        if not small or self.in_channels < _MANY_CHANNELS or maps.device.type != "cpu":
            return super().forward(maps, output_size)
        n, inputs, h, w = maps.shape
        rows = maps.permute(0, 2, 3, 1).reshape(n * h * w, inputs)
        kernel = self.weight.permute(0, 2, 3, 1).reshape(inputs, -1)  # a view when channels-last
        # Kernel positions in pairs: 0, 1 belong to one pair of output rows and 2, 3 to the next.
        products = (rows @ kernel).view(n, h, w, 2, 2, 2, 2, self.out_channels)
        images: Tensor = _Overlapping.apply(products)
        return images if self.bias is None else images + self.bias.view(-1, 1, 1)


class _Overlapping(torch.autograd.Function):
    """Adds products [n, h, w, 2, 2, 2, 2, C] to images [n, C, 2h, 2w], neighbours' overlapping.

    By itself autograd would copy all of the sum for each of the four additions on the way back,
    where every product's gradient is that of one pixel.
    """

    @staticmethod
    def forward(products: Tensor) -> Tensor:
        n, h, w, *_, outputs = products.shape
        padded = products.new_zeros(n, h + 1, 2, w + 1, 2, outputs)
        for at, part in _pairs(products):
            padded[at] += part
        images = padded.view(n, 2 * h + 2, 2 * w + 2, outputs)[:, 1:-1, 1:-1]
        return images.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.shape = inputs[0].shape

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        n, h, w, *_, outputs = ctx.shape
        padded = functional.pad(gradient.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        padded = padded.reshape(n, h + 1, 2, w + 1, 2, outputs)
        products = gradient.new_empty(ctx.shape)
        for at, part in _pairs(products):
            part.copy_(padded[at])
        return products


def _pairs(products: Tensor) -> Iterator[tuple[tuple[slice, ...], Tensor]]:
    """Yield each pair of kernel rows and columns, and where it comes to lie: [n, h, 2, w, 2, C]."""
    _, h, w, *_ = products.shape
    for down in (0, 1):
        for right in (0, 1):
            part = products[:, :, :, down, :, right].permute(0, 1, 3, 2, 4, 5)
            rows, columns = slice(down, down + h), slice(right, right + w)
            yield (slice(None), rows, slice(None), columns), part


class Generator(nn.Module):
    """Latents [n, z] to images [n, C, H, W] in [-1, 1].

    `plain` is the ablation of Arjovsky et al. 2017, figure 6: no batch norm and the same number of
    filters (2f) in every layer. `norm` is batch, or virtual: by a reference batch. With `classes`,
    latents come with labels [n].
    """

    reference: Tensor | None

    def __init__(
        self,
        latent_dim: int,
        image_shape: tuple[int, int, int],
        features: int,
        *,
        plain: bool = False,
        classes: int = 0,
        norm: Literal["batch", "virtual"] = "batch",
    ) -> None:
        super().__init__()
        self.classes = classes
        normed = nn.BatchNorm2d if norm == "batch" else virtual.VirtualBatchNorm
        doublings, smallest = _doublings(image_shape)
        widths = [2 * features * (1 if plain else 2**k) for k in reversed(range(doublings))]
        layers: list[nn.Module] = [nn.Unflatten(1, (latent_dim + classes, 1, 1))]
        inputs, kernel, stride, padding = latent_dim + classes, smallest, 1, 0
        for width in widths:
            layers.append(Upsample(inputs, width, kernel, stride, padding, bias=plain))
            layers += [nn.ReLU()] if plain else [normed(width), nn.ReLU()]
            inputs, kernel, stride, padding = width, (4, 4), 2, 1
        layers += [nn.ConvTranspose2d(inputs, image_shape[0], 4, 2, 1), nn.Tanh()]
        self.net = nn.Sequential(*layers)
        self.apply(_initialise)
        virtually = norm == "virtual" and not plain
        reference = virtual.drawn(latent_dim, classes) if virtually else None
        self.register_buffer("reference", reference)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        rows = joined(latents, labels, self.classes)
        return virtual.through(self.net, rows, self.reference)


class Critic(nn.Module):
    """Images [n, C, H, W] to scores [n]: no norm on the first layer, no sigmoid at the end.

    With `kernels` it sees how alike a batch's images are. `initialisation` is small, as the
    generator's, or he, which needs no norm to keep the scale. With `classes`, images come with
    labels [n].
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        features: int,
        norm: CriticNorm = "instance",
        classes: int = 0,
        kernels: int = 0,
        initialisation: initial.Initialisation = "small",
    ) -> None:
        super().__init__()
        doublings, smallest = _doublings(image_shape)
        layers: list[nn.Module] = [
            nn.Conv2d(image_shape[0], features, 4, 2, 1),
            nn.LeakyReLU(_SLOPE),
        ]
        for k in range(1, doublings):
            inputs, width = features * 2 ** (k - 1), features * 2**k
            layers.append(nn.Conv2d(inputs, width, 4, 2, 1, bias=norm in ("none", "spectral")))
            layers += [*_norm(norm, width), nn.LeakyReLU(_SLOPE)]
        width = features * 2 ** (doublings - 1)
        if kernels:  # of the smallest maps as one vector; the last layer is then that of an mlp
            inputs = width * math.prod(smallest)
            layers += [nn.Flatten(), MinibatchDiscrimination(inputs, kernels)]
            layers.append(nn.Linear(inputs + kernels, 1 + classes))
        else:
            layers += [nn.Conv2d(width, 1 + classes, smallest, 2, 0), nn.Flatten()]
        self.net = nn.Sequential(*layers)
        self.apply(_initialise)
        if initialisation == "he":
            initial.he(self.net, _SLOPE)
        if norm == "spectral":
            spectral.hold(self)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return score(self.net(images), labels)

    def follow(self) -> None:
        """Once before each step of the optimizer: let the spectral norm follow the weights."""
        spectral.follow(self)

    def features(self, images: Tensor) -> Tensor:
        """The last hidden layer, [n, k]."""
        maps: Tensor = self.net[:-2](images)
        return maps.flatten(1)


class Encoder(nn.Module):
    """Images [n, C, H, W] to `outputs` numbers [n, k]: strided convolutions, a linear layer.

    With batch norm and ReLU after each, as the encoder of Tolstikhin et al. 2018, whose kernels
    are 5 and whose widths go on from 128; `plain` has no batch norm.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], features: int, outputs: int, *, plain: bool = False
    ) -> None:
        super().__init__()
        inputs, layers = image_shape[0], list[nn.Module]()
        doublings, smallest = _doublings(image_shape)
        for k in range(doublings):
            width = features * 2**k
            layers.append(nn.Conv2d(inputs, width, 4, 2, 1, bias=plain))
            layers += [nn.ReLU()] if plain else [nn.BatchNorm2d(width), nn.ReLU()]
            inputs = width
        self.net = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(inputs * math.prod(smallest), outputs)
        )
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        numbers: Tensor = self.net(images)
        return numbers


def _norm(norm: CriticNorm, width: int) -> list[nn.Module]:
    if norm == "instance":
        return [nn.InstanceNorm2d(width, affine=True)]
    return [nn.BatchNorm2d(width)] if norm == "batch" else []

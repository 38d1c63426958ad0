"""The residual networks of Gulrajani et al. 2017, from 8 to 256 pixels.

Up to 32 pixels they are those of the paper's CIFAR-10 training (section 5.4): one width f, and a
critic without norms that takes the mean over its last maps. From 64 on those of its 64x64 one:
widths 8f, 8f, 4f, 2f, f from 4x4 maps to the image, the same back, and layer norm in the critic.
Larger images add blocks of width 8f at the narrow spatial end, as the authors' 128x128 generator.

Each side of an image is its smallest map's, 4 to 7 pixels at the shorter one, doubled k times.
"""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from monge import sizes
from monge.nets import spectral
from monge.nets.labels import score
from monge.nets.residual import (
    DownBlock,
    Norm,
    Order,
    UpBlock,
    convolution,
    linear,
)

Shape = tuple[int, int, int]

_FLAT = 3
"""Up to so many doublings (32 pixels) the networks are of one width."""


def doublings(image_shape: Shape) -> int:
    """Count the doublings of the smallest map. Raises ValueError for a size out of reach."""
    return sizes.doublings(*image_shape[1:], "resnet")


class Generator(nn.Module):
    """Latents [n, z] to images [n, C, H, W] in [-1, 1].

    With `classes`, latents come with labels [n], and the norms in the blocks are conditional.
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: Shape,
        features: int,
        order: Order = "first",
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.classes = classes
        channels, height, width = image_shape
        times = doublings(image_shape)
        flat = times <= _FLAT
        widths = [features * (1 if flat else min(8, 2**k)) for k in reversed(range(times))]
        first = (widths[0], height >> times, width >> times)
        layers: list[nn.Module] = [linear(latent_dim, first[0] * first[1] * first[2])]
        layers.append(nn.Unflatten(1, first))
        for inputs, outputs in zip([widths[0], *widths], widths, strict=False):
            layers.append(UpBlock(inputs, outputs, order, classes))
        last = widths[-1]
        layers += [nn.BatchNorm2d(last), nn.ReLU(), convolution(last, channels, he=False)]
        self.net = nn.Sequential(*layers, nn.Tanh())

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        maps = latents
        for layer in self.net:
            maps = layer(maps, labels) if isinstance(layer, UpBlock) else layer(maps)
        return maps


class MeanOverPixels(nn.Module):
    """Maps [n, C, h, w] to the mean of each, [n, C]."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean((2, 3))


def body(image_shape: Shape, features: int, norm: Norm) -> tuple[list[nn.Module], int]:
    """The layers from images [n, C, H, W] to vectors [n, k], and k."""
    times = doublings(image_shape)
    if times <= _FLAT:
        halvings = max(1, times - 1)
        layers: list[nn.Module] = [DownBlock(image_shape[0], features, norm, activate=False)]
        for k in range(1, halvings + 2):
            layers.append(DownBlock(features, features, norm, halve=k < halvings))
        return [*layers, nn.ReLU(), MeanOverPixels()], features
    widths = [features * min(8, 2**k) for k in range(times + 1)]
    layers = [convolution(image_shape[0], features, he=False)]
    layers += [DownBlock(a, b, norm) for a, b in itertools.pairwise(widths)]
    pixels = (image_shape[1] >> times) * (image_shape[2] >> times)
    return [*layers, nn.Flatten()], widths[-1] * pixels


class Critic(nn.Module):
    """Images [n, C, H, W] to scores [n].

    `norm` is none, layer, spectral, or auto: none up to 32 pixels and layer from there, as in the
    paper. With `classes`, images come with labels [n].
    """

    def __init__(
        self, image_shape: Shape, features: int, norm: str = "auto", classes: int = 0
    ) -> None:
        super().__init__()
        layers, width = body(image_shape, features, norm_by_name(norm, image_shape))
        self.net = nn.Sequential(*layers, linear(width, 1 + classes))
        if norm == "spectral":
            spectral.hold(self)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return score(self.net(images), labels)

    def follow(self) -> None:
        """Once before each step of the optimizer: let the spectral norm follow the weights."""
        spectral.follow(self)

    def features(self, images: Tensor) -> Tensor:
        """The last hidden layer, [n, k]."""
        hidden: Tensor = self.net[:-1](images)
        return hidden


class ClassifyingCritic(Critic):
    """A critic whose score asks for no label, and that says of which class an image is.

    Its last layer has an output for each class beside the score (Odena et al. 2017).
    """

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        scores: Tensor = self.net(images)[:, 0]
        return scores

    def class_logits(self, images: Tensor) -> Tensor:
        """The logits [n, classes] of an image's class."""
        logits: Tensor = self.net(images)[:, 1:]
        return logits


class Encoder(nn.Module):
    """Images [n, C, H, W] to `outputs` numbers [n, k], by the critic's layers."""

    def __init__(self, image_shape: Shape, features: int, outputs: int) -> None:
        super().__init__()
        layers, width = body(image_shape, features, norm_by_name("auto", image_shape))
        self.net = nn.Sequential(*layers, linear(width, outputs))

    def forward(self, images: Tensor) -> Tensor:
        numbers: Tensor = self.net(images)
        return numbers


def norm_by_name(norm: str, image_shape: Shape) -> Norm:
    """The norm layers of a critic; spectral norm is none of them."""
    if norm == "layer" or (norm == "auto" and doublings(image_shape) > _FLAT):
        return "layer"
    return "none"

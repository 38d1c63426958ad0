"""A perceptron of one hidden layer with a smooth activation, in both networks."""

from __future__ import annotations

import math

from torch import Tensor, nn

from monge.nets.labels import joined, score
from monge.params import TrainParams

Shape = tuple[int, int, int]


class Generator(nn.Module):
    """Latents [n, z] to images [n, C, H, W] in [-1, 1]."""

    def __init__(self, latent_dim: int, image_shape: Shape, width: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.net = nn.Sequential(
            nn.Linear(latent_dim + classes, width), nn.SiLU(),
            nn.Linear(width, math.prod(image_shape)), nn.Tanh(), nn.Unflatten(1, image_shape),
        )  # fmt: skip

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        images: Tensor = self.net(joined(latents, labels, self.classes))
        return images


class Critic(nn.Module):
    """Images [n, C, H, W] to scores [n]."""

    def __init__(self, image_shape: Shape, width: int, classes: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(math.prod(image_shape), width), nn.SiLU(),
            nn.Linear(width, 1 + classes),
        )  # fmt: skip

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return score(self.net(images), labels)


def generator(train: TrainParams, image_shape: Shape, classes: int) -> nn.Module:
    """Build it as the parameters say."""
    return Generator(train.latent_dim, image_shape, train.smooth.width, classes)


def critic(train: TrainParams, image_shape: Shape, classes: int) -> nn.Module:
    """Build it as the parameters say."""
    return Critic(image_shape, train.smooth.width, classes)

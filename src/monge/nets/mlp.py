"""Multilayer perceptrons: no convolution, no norm, nothing that knows about images.

Arjovsky et al. 2017, figure 7, use a generator of 4 ReLU layers of 512 units to show that the
objective, not the architecture, carries the training.
"""

from __future__ import annotations

import math

from torch import Tensor, nn


def _hidden(inputs: int, depth: int, width: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return layers


class Generator(nn.Module):
    """Latents [n, z] to images [n, C, H, W] in [-1, 1]: `depth` ReLU layers of `width`, tanh."""

    def __init__(
        self, latent_dim: int, image_shape: tuple[int, int, int], depth: int, width: int
    ) -> None:
        super().__init__()
        self.net = nn.Sequential(
            *_hidden(latent_dim, depth, width),
            nn.Linear(width, math.prod(image_shape)),
            nn.Tanh(),
            nn.Unflatten(1, image_shape),
        )

    def forward(self, latents: Tensor) -> Tensor:
        images: Tensor = self.net(latents)
        return images


class Critic(nn.Module):
    """Images [n, C, H, W] to scores [n]: `depth` ReLU layers of `width`, no sigmoid."""

    def __init__(self, image_shape: tuple[int, int, int], depth: int, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Flatten(),
            *_hidden(math.prod(image_shape), depth, width),
            nn.Linear(width, 1),
            nn.Flatten(0),
        )

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.net(images)
        return scores

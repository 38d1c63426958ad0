"""Multilayer perceptrons: no convolution, no norm by default, nothing that knows about images.

Arjovsky et al. 2017, figure 7, use a generator of 4 ReLU layers of 512 units to show that the
objective, not the architecture, carries the training.
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn

from monge.nets import initial, spectral, virtual
from monge.nets.labels import joined, score
from monge.nets.minibatch import MinibatchDiscrimination


def _hidden(inputs: int, depth: int, width: int, norm: str = "none") -> list[nn.Module]:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers.append(nn.Linear(inputs, width, bias=norm == "none"))
        layers += [virtual.VirtualBatchNorm(width)] if norm == "virtual" else []
        layers.append(nn.ReLU())
        inputs = width
    return layers


class Generator(nn.Module):
    """Latents [n, z] to images [n, C, H, W] in [-1, 1]: `depth` ReLU layers of `width`, tanh.

    `norm` is none, or virtual: by a reference batch. With `classes`, latents come with labels [n].
    """

    reference: Tensor | None

    def __init__(
        self,
        latent_dim: int,
        image_shape: tuple[int, int, int],
        depth: int,
        width: int,
        classes: int = 0,
        norm: Literal["none", "virtual"] = "none",
    ) -> None:
        super().__init__()
        self.classes = classes
        self.net = nn.Sequential(
            *_hidden(latent_dim + classes, depth, width, norm),
            nn.Linear(width, math.prod(image_shape)),
            nn.Tanh(),
            nn.Unflatten(1, image_shape),
        )
        reference = virtual.drawn(latent_dim, classes) if norm == "virtual" else None
        self.register_buffer("reference", reference)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        rows = joined(latents, labels, self.classes)
        return virtual.through(self.net, rows, self.reference)


class Critic(nn.Module):
    """Images [n, C, H, W] to scores [n]: `depth` ReLU layers of `width`, no sigmoid.

    `norm` is none or spectral. With `kernels` it sees how alike a batch's images are.
    `initialisation` is small, torch's own, or he, which keeps the scale from layer to layer. With
    `classes`, images come with labels [n].
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        depth: int,
        width: int,
        norm: Literal["none", "spectral"] = "none",
        classes: int = 0,
        kernels: int = 0,
        initialisation: initial.Initialisation = "small",
    ) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Flatten(),
            *_hidden(math.prod(image_shape), depth, width),
            *([MinibatchDiscrimination(width, kernels)] if kernels else []),
            nn.Linear(width + kernels, 1 + classes),
        )
        if initialisation == "he":
            initial.he(self.net, 0.0)
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


class Encoder(nn.Module):
    """Images [n, C, H, W] to `outputs` numbers [n, k]: `depth` ReLU layers of `width`."""

    def __init__(
        self, image_shape: tuple[int, int, int], depth: int, width: int, outputs: int
    ) -> None:
        super().__init__()
        hidden = _hidden(math.prod(image_shape), depth, width)
        self.net = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(width, outputs))

    def forward(self, images: Tensor) -> Tensor:
        numbers: Tensor = self.net(images)
        return numbers

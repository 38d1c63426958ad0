"""What the training loop knows of an objective: this protocol and nothing more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

Networks = Mapping[str, nn.Module]
Optimizers = Mapping[str, torch.optim.Optimizer]


class Noise:
    """Every random number of a training, drawn on one device from one generator.

    The generator's state is in the checkpoint, so that a resumed training draws the same numbers.
    """

    def __init__(self, seed: int, latent_dim: int, device: torch.device) -> None:
        self.latent_dim = latent_dim
        self.device = device
        self.generator = torch.Generator(device).manual_seed(seed)

    def latents(self, n: int) -> Tensor:
        """Standard normal latents [n, z]."""
        shape = (n, self.latent_dim)
        return torch.randn(shape, generator=self.generator, device=self.device)

    def uniform(self, n: int) -> Tensor:
        """Uniform numbers in [0, 1), shape [n]."""
        return torch.rand(n, generator=self.generator, device=self.device)


class Objective(Protocol):
    """One training method: its networks, its optimizers, and one iteration of its updates."""

    roles: tuple[Literal["generator", "critic"], ...]
    """The networks it trains, by role; `generator` is the one that is averaged and exported."""

    real_batches: int
    """How many batches of real images one iteration takes."""

    learning_rate: float
    """The optimizers' learning rate before any decay."""

    def optimizers(self, networks: Networks) -> dict[str, torch.optim.Optimizer]:
        """One optimizer a network."""

    def iterate(
        self,
        networks: Networks,
        optimizers: Optimizers,
        reals: Iterator[Tensor],
        noise: Noise,
    ) -> dict[str, Tensor]:
        """Update every network once through; readings as scalars that stay on the device."""

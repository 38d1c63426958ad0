"""The protocol of an objective: the training loop knows this and nothing more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

Networks = Mapping[str, nn.Module]
Optimizers = Mapping[str, torch.optim.Optimizer]
Labels = Tensor | None
Reals = Iterator[tuple[Tensor, Labels]]
"""Batches of real images [n, C, H, W] and, for a conditional training, their labels [n]."""


def conditioned(network: Callable[..., Tensor], inputs: Tensor, labels: Labels) -> Tensor:
    """Run a network on its inputs and, where it is conditional, their labels."""
    return network(inputs) if labels is None else network(inputs, labels)


@runtime_checkable
class Follows(Protocol):
    """A network with something that follows its weights, once before each step of its optimizer."""

    def follow(self) -> None:
        """Before the step."""


class Noise:
    """Every random number of a training, drawn on one device from one generator.

    The generator's state is in the checkpoint, so that a resumed training draws the same numbers.
    `progress` is the share of the training's steps that is done, and `chance` that of each
    transformation of an augmented image; both are where recorded graphs can read them.
    `share` is this rank's part of each batch: every rank draws for all and keeps its own, so that
    the numbers do not depend on how many ranks there are.
    """

    def __init__(
        self, seed: int, latent_dim: int, device: torch.device, share: tuple[int, int] = (0, 1)
    ) -> None:
        self.latent_dim = latent_dim
        self.device = device
        self.rank, self.ranks = share
        self.generator = torch.Generator(device).manual_seed(seed)
        self.progress = torch.zeros((), device=device)
        self.chance = torch.ones((), device=device)

    def latents(self, n: int) -> Tensor:
        """Standard normal latents [n, z]."""
        return self.normal(n, self.latent_dim)

    def normal(self, n: int, *shape: int) -> Tensor:
        """Standard normal numbers, shape [n, *shape]."""
        every = (n * self.ranks, *shape)
        return self._own(torch.randn(every, generator=self.generator, device=self.device))

    def uniform(self, n: int, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1), shape [n, *shape]."""
        every = (n * self.ranks, *shape)
        return self._own(torch.rand(every, generator=self.generator, device=self.device))

    def _own(self, drawn: Tensor) -> Tensor:
        """This rank's rows of what was drawn for all."""
        n = len(drawn) // self.ranks
        return drawn[self.rank * n : (self.rank + 1) * n]


@dataclass(frozen=True)
class Execution:
    """The way that an iteration is computed. It changes roundings and speed, not the result.

    `parts` is how many pieces a batch is cut into, `fast` a context in which networks may round
    their products, `average` what makes the gradients of several ranks one, `gather` what makes the
    rows of the whole batch of one rank's, so that gradients go back to every rank.
    """

    parts: int = 1
    fast: Callable[[], AbstractContextManager[object]] = nullcontext
    average: Callable[[nn.Module], None] | None = None
    gather: Callable[[Tensor], Tensor] | None = None


class Objective(Protocol):
    """One training method: its networks, its optimizers, and one iteration of its updates."""

    roles: tuple[str, ...]
    """The networks it trains, by role; `generator` is the one that is averaged and exported."""

    rates: Mapping[str, float]
    """The learning rate of each role's optimizer before any decay."""

    def optimizers(self, networks: Networks) -> dict[str, torch.optim.Optimizer]:
        """One optimizer a network."""

    batches: int
    """The batches of real images that an iteration takes; some may take more."""

    def batches_at(self, step: int) -> int:
        """Count those that the iteration after `step` others takes."""

    def batches_before(self, step: int) -> int:
        """Count the batches of real images that the first `step` iterations take."""

    def iterate(
        self,
        networks: Networks,
        optimizers: Optimizers,
        reals: Reals,
        noise: Noise,
        batches: int,
    ) -> dict[str, Tensor]:
        """Update every network once through; readings as scalars that stay on the device."""

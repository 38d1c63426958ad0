"""What both Wasserstein objectives share: Algorithm 1 and its sign.

    W(P_r, P_g) = sup over 1-Lipschitz f of E_r[f] - E_g[f]      (Kantorovich-Rubinstein)

The critic climbs this difference, so it minimises the negative; the generator can only move the
second term, so it minimises -E_g[f]. `wasserstein_estimate` is the difference itself: positive
when the critic tells real from fake, and smaller as the generator gets better.

A conditional training has a W(P_r, P_g) for each label and minimises their mean: fake images take
the labels of the real ones in the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from monge.objectives.objective import (
    Execution,
    Labels,
    Networks,
    Noise,
    Optimizers,
    Reals,
    conditioned,
)
from monge.objectives.schedule import CriticSchedule


def wasserstein_estimate(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """mean critic(real) - mean critic(fake), a scalar (Arjovsky et al. 2017, equation 2)."""
    return real_scores.mean() - fake_scores.mean()


class WassersteinObjective:
    """Algorithm 1 of Arjovsky et al. 2017 with room for a constraint.

    `one_pass` scores real and fake images as one batch: the same mathematics, one call fewer,
    as long as the critic holds no batch statistics.
    """

    roles: tuple[str, ...] = ("generator", "critic")

    def __init__(
        self, learning_rate: float, schedule: CriticSchedule, how: Execution, *, one_pass: bool
    ) -> None:
        self.rates: Mapping[str, float] = dict.fromkeys(self.roles, learning_rate)
        self.batches = schedule.critic_steps  # a fresh one for every critic step
        self.batches_at = schedule.at
        self.batches_before = schedule.before
        self.how = how
        self.one_pass = one_pass

    def iterate(
        self,
        networks: Networks,
        optimizers: Optimizers,
        reals: Reals,
        noise: Noise,
        batches: int,
    ) -> dict[str, Tensor]:
        """A step of the critic for each batch, then one of the generator."""
        critic = networks["critic"].requires_grad_(True)
        for _ in range(batches):
            real, labels = next(reals)
            readings = self._critic_step(networks, optimizers["critic"], real, labels, noise)
        critic.requires_grad_(False)  # the generator's step needs no gradient of the critic's
        loss = self._generator_step(networks, optimizers["generator"], noise, labels, len(real))
        return {**readings, "generator_loss": loss}

    def _critic_step(
        self,
        networks: Networks,
        optimizer: torch.optim.Optimizer,
        real: Tensor,
        labels: Labels,
        noise: Noise,
    ) -> dict[str, Tensor]:
        optimizer.zero_grad(set_to_none=True)
        draws = self.critic_draws(noise, len(real))
        readings = []
        for some, theirs, *drawn in self._parts(real, labels, *draws):
            loss, seen = self.critic_loss(networks, some, theirs, *drawn)
            torch.autograd.backward(loss / self.how.parts)
            readings.append(seen)
        self._update(networks["critic"], optimizer)
        self.project(networks["critic"])
        return _mean(readings)

    def _generator_step(
        self,
        networks: Networks,
        optimizer: torch.optim.Optimizer,
        noise: Noise,
        labels: Labels,
        n: int,
    ) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        readings = []
        for latents, theirs in self._parts(noise.latents(n), labels):
            loss = self.generator_loss(networks, latents, theirs)
            torch.autograd.backward(loss / self.how.parts)
            readings.append({"loss": loss.detach()})
        self._update(networks["generator"], optimizer)
        return _mean(readings)["loss"]

    def _update(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        if self.how.average is not None:
            self.how.average(network)
        optimizer.step()

    def _parts(self, *rows: Any) -> Iterator[tuple[Any, ...]]:
        """Cut tensors of one length into the parts that are computed one after the other."""
        parts = self.how.parts
        cut = ([None] * parts if tensor is None else tensor.chunk(parts) for tensor in rows)
        return zip(*cut, strict=True)

    def critic_draws(self, noise: Noise, n: int) -> tuple[Tensor, ...]:
        """The random numbers of a critic step over n images, an image's in each row."""
        return (noise.latents(n),)

    def critic_loss(
        self, networks: Networks, real: Tensor, labels: Labels, latents: Tensor, *draws: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What the critic minimises, and what to log of it."""
        critic = networks["critic"]
        with torch.no_grad(), self.how.fast():  # the generator is fixed here: no graph through it
            fake = conditioned(networks["generator"], latents, labels).to(real.dtype)
        with self.how.fast():
            real_scores, fake_scores = self._scores(critic, real, fake, labels)
        estimate = wasserstein_estimate(real_scores.to(real.dtype), fake_scores.to(real.dtype))
        constraint, readings = self.constraint(critic, real, fake, labels, *draws)
        return constraint - estimate, {"wasserstein_estimate": estimate.detach(), **readings}

    def generator_loss(self, networks: Networks, latents: Tensor, labels: Labels) -> Tensor:
        """-E_g[f]."""
        with self.how.fast():
            fake = conditioned(networks["generator"], latents, labels)
            scores = conditioned(networks["critic"], fake, labels)
        return -scores.to(latents.dtype).mean()

    def _scores(
        self, critic: nn.Module, real: Tensor, fake: Tensor, labels: Labels
    ) -> tuple[Tensor, Tensor]:
        if not self.one_pass:
            return conditioned(critic, real, labels), conditioned(critic, fake, labels)
        both = None if labels is None else torch.cat([labels, labels])
        scores = conditioned(critic, torch.cat([real, fake]), both)
        return scores[: len(real)], scores[len(real) :]

    def constraint(
        self, critic: nn.Module, real: Tensor, fake: Tensor, labels: Labels, *draws: Tensor
    ) -> tuple[Tensor | float, dict[str, Tensor]]:
        """A term added to the critic's loss, and what to log of it."""
        return 0.0, {}

    def project(self, critic: nn.Module) -> None:
        """Bring the critic back to the allowed set after its step."""


def _mean(readings: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The readings of a batch from those of its parts, which are of one size."""
    if len(readings) == 1:
        return readings[0]
    return {name: torch.stack([seen[name] for seen in readings]).mean() for name in readings[0]}

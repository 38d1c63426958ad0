"""What both Wasserstein objectives share: Algorithm 1 and its sign.

    W(P_r, P_g) = sup over 1-Lipschitz f of E_r[f] - E_g[f]      (Kantorovich-Rubinstein)

The critic climbs this difference, so it minimises the negative; the generator can only move the
second term, so it minimises -E_g[f]. `wasserstein_estimate` is the difference itself: positive
when the critic tells real from fake, and smaller as the generator gets better.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from monge.objectives.objective import Execution, Networks, Noise, Optimizers
from monge.objectives.schedule import CriticSchedule


def wasserstein_estimate(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """mean critic(real) - mean critic(fake), a scalar (Arjovsky et al. 2017, equation 2)."""
    return real_scores.mean() - fake_scores.mean()


class WassersteinObjective:
    """Algorithm 1 of Arjovsky et al. 2017 with room for a constraint.

    `one_pass` scores real and fake images as one batch: the same mathematics, one call fewer,
    as long as the critic holds no batch statistics.
    """

    roles: tuple[Literal["generator", "critic"], ...] = ("generator", "critic")

    def __init__(
        self, learning_rate: float, schedule: CriticSchedule, how: Execution, *, one_pass: bool
    ) -> None:
        self.learning_rate = learning_rate
        self.critic_steps = schedule.critic_steps
        self.critic_steps_at = schedule.at
        self.batches_before = schedule.before  # a fresh batch for every critic step
        self.how = how
        self.one_pass = one_pass

    def iterate(
        self,
        networks: Networks,
        optimizers: Optimizers,
        reals: Iterator[Tensor],
        noise: Noise,
        critic_steps: int,
    ) -> dict[str, Tensor]:
        """`critic_steps` steps of the critic, then one of the generator."""
        critic = networks["critic"].requires_grad_(True)
        for _ in range(critic_steps):
            real = next(reals)
            readings = self._critic_step(networks, optimizers["critic"], real, noise)
        critic.requires_grad_(False)  # the generator's step needs no gradient of the critic's
        loss = self._generator_step(networks, optimizers["generator"], noise, len(real))
        return {**readings, "generator_loss": loss}

    def _critic_step(
        self, networks: Networks, optimizer: torch.optim.Optimizer, real: Tensor, noise: Noise
    ) -> dict[str, Tensor]:
        optimizer.zero_grad(set_to_none=True)
        draws = self.critic_draws(noise, len(real))
        readings = []
        for part in zip(*(tensor.chunk(self.how.parts) for tensor in (real, *draws)), strict=True):
            loss, seen = self.critic_loss(networks, *part)
            torch.autograd.backward(loss / self.how.parts)
            readings.append(seen)
        self._update(networks["critic"], optimizer)
        self.project(networks["critic"])
        return _mean(readings)

    def _generator_step(
        self, networks: Networks, optimizer: torch.optim.Optimizer, noise: Noise, n: int
    ) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        readings = []
        for latents in noise.latents(n).chunk(self.how.parts):
            loss = self.generator_loss(networks, latents)
            torch.autograd.backward(loss / self.how.parts)
            readings.append({"loss": loss.detach()})
        self._update(networks["generator"], optimizer)
        return _mean(readings)["loss"]

    def _update(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        if self.how.average is not None:
            self.how.average(network)
        optimizer.step()

    def critic_draws(self, noise: Noise, n: int) -> tuple[Tensor, ...]:
        """The random numbers of a critic step over n images, an image's in each row."""
        return (noise.latents(n),)

    def critic_loss(
        self, networks: Networks, real: Tensor, latents: Tensor, *draws: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What the critic minimises, and what to log of it."""
        critic = networks["critic"]
        with torch.no_grad(), self.how.fast():  # the generator is fixed here: no graph through it
            fake = networks["generator"](latents).to(real.dtype)
        with self.how.fast():
            real_scores, fake_scores = self._scores(critic, real, fake)
        estimate = wasserstein_estimate(real_scores.to(real.dtype), fake_scores.to(real.dtype))
        constraint, readings = self.constraint(critic, real, fake, *draws)
        return constraint - estimate, {"wasserstein_estimate": estimate.detach(), **readings}

    def generator_loss(self, networks: Networks, latents: Tensor) -> Tensor:
        """-E_g[f]."""
        with self.how.fast():
            scores: Tensor = networks["critic"](networks["generator"](latents))
        return -scores.to(latents.dtype).mean()

    def _scores(self, critic: nn.Module, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        if not self.one_pass:
            return critic(real), critic(fake)
        scores = critic(torch.cat([real, fake]))
        return scores[: len(real)], scores[len(real) :]

    def constraint(
        self, critic: nn.Module, real: Tensor, fake: Tensor, *draws: Tensor
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

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

from monge.objectives.objective import Networks, Noise, Optimizers


def wasserstein_estimate(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """mean critic(real) - mean critic(fake), a scalar (Arjovsky et al. 2017, equation 2)."""
    return real_scores.mean() - fake_scores.mean()


class WassersteinObjective:
    """Algorithm 1 of Arjovsky et al. 2017 with room for a constraint.

    `one_pass` scores real and fake images as one batch: the same mathematics, one call fewer,
    as long as the critic holds no batch statistics.
    """

    roles: tuple[Literal["generator", "critic"], ...] = ("generator", "critic")

    def __init__(self, learning_rate: float, critic_steps: int, *, one_pass: bool) -> None:
        self.learning_rate = learning_rate
        self.critic_steps = critic_steps
        self.real_batches = critic_steps  # a fresh batch for every critic step
        self.one_pass = one_pass

    def iterate(
        self, networks: Networks, optimizers: Optimizers, reals: Iterator[Tensor], noise: Noise
    ) -> dict[str, Tensor]:
        """`critic_steps` steps of the critic, then one of the generator."""
        critic = networks["critic"].requires_grad_(True)
        for _ in range(self.critic_steps):
            real = next(reals)
            readings = self._critic_step(networks, optimizers["critic"], real, noise)
        critic.requires_grad_(False)  # the generator's step needs no gradient of the critic's
        loss = self._generator_step(networks, optimizers["generator"], noise, len(real))
        return {**readings, "generator_loss": loss}

    def _critic_step(
        self, networks: Networks, optimizer: torch.optim.Optimizer, real: Tensor, noise: Noise
    ) -> dict[str, Tensor]:
        generator, critic = networks["generator"], networks["critic"]
        with torch.no_grad():  # the generator is fixed here: no graph through it
            fake = generator(noise.latents(len(real)))
        estimate = wasserstein_estimate(*self._scores(critic, real, fake))
        constraint, readings = self.constraint(critic, real, fake, noise)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(constraint - estimate)
        optimizer.step()
        self.project(critic)
        return {"wasserstein_estimate": estimate.detach(), **readings}

    def _generator_step(
        self, networks: Networks, optimizer: torch.optim.Optimizer, noise: Noise, n: int
    ) -> Tensor:
        fake = networks["generator"](noise.latents(n))
        loss: Tensor = -networks["critic"](fake).mean()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        return loss.detach()

    def _scores(self, critic: nn.Module, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        if not self.one_pass:
            return critic(real), critic(fake)
        scores = critic(torch.cat([real, fake]))
        return scores[: len(real)], scores[len(real) :]

    def constraint(
        self, critic: nn.Module, real: Tensor, fake: Tensor, noise: Noise
    ) -> tuple[Tensor | float, dict[str, Tensor]]:
        """A term added to the critic's loss, and what to log of it."""
        return 0.0, {}

    def project(self, critic: nn.Module) -> None:
        """Bring the critic back to the allowed set after its step."""

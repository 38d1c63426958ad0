"""Algorithm 1 of both Wasserstein papers, and R3GAN's, written plainly: eager, in a loop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.plain import plain
from monge import nets
from monge.params import TrainParams

BETAS = {"wgan-gp": (0.0, 0.9), "rpgan": (0.0, 0.99)}
"""Adam's; the other method has RMSProp."""


class Textbook:
    """Called, it does an iteration. Where fakes are not `detached`, it works like most tutorials.

    The networks are monge's, with torch's own layers.
    """

    def __init__(
        self,
        params: TrainParams,
        shape: tuple[int, int, int],
        device: torch.device,
        reals: Iterator[Tensor],
        *,
        detached: bool = True,
    ) -> None:
        torch.manual_seed(params.seed)
        self.params, self.device, self.reals, self.detached = params, device, reals, detached
        self.method = params.objective
        sections = {"wgan": params.wgan, "wgan-gp": params.wgan_gp, "rpgan": params.rpgan}
        self.section: Any = sections[self.method]
        self.generator = plain(nets.build("generator", params, shape)).to(device)
        self.critic = plain(nets.build("critic", params, shape)).to(device)
        self.of_critic, self.of_generator = map(self._optimizer, (self.critic, self.generator))

    def __call__(self) -> None:
        for _ in range(self.section.critic_steps):
            real = next(self.reals).to(self.device)
            fake = self._drawn(len(real))
            fake = fake.detach() if self.detached else fake
            loss = self._critic_loss(real, fake) + self._penalty(real, fake)
            self.of_critic.zero_grad()
            torch.autograd.backward(loss, retain_graph=not self.detached)
            self.of_critic.step()
            if self.method == "wgan":
                for weight in self.critic.parameters():
                    weight.data.clamp_(-self.section.clip, self.section.clip)
        fake = self._drawn(self.params.batch_size)
        paired = self.method == "rpgan"
        loss = self._critic_loss(fake, real) if paired else -self.critic(fake).mean()
        self.of_generator.zero_grad()
        torch.autograd.backward(loss)
        self.of_generator.step()

    def _optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        rate = self.section.learning_rate
        if self.method not in BETAS:
            return torch.optim.RMSprop(network.parameters(), lr=rate)
        return torch.optim.Adam(network.parameters(), lr=rate, betas=BETAS[self.method])

    def _drawn(self, n: int) -> Tensor:
        latents = torch.randn(n, self.params.latent_dim, device=self.device)
        images: Tensor = self.generator(latents)
        return images

    def _critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        of_real, of_fake = self.critic(real), self.critic(fake)
        if self.method == "rpgan":
            return F.softplus(of_fake - of_real).mean()
        loss: Tensor = of_fake.mean() - of_real.mean()
        return loss

    def _penalty(self, real: Tensor, fake: Tensor) -> Tensor | float:
        if self.method == "wgan":
            return 0.0
        weight: float = self.section.penalty_weight
        if self.method == "rpgan":
            squares = self._slopes(real).square() + self._slopes(fake).square()
            return weight / 2 * squares.mean()
        eps = torch.rand(len(real), 1, 1, 1, device=self.device)
        slopes = self._slopes(eps * real + (1 - eps) * fake)
        return weight * (slopes - 1).square().mean()

    def _slopes(self, images: Tensor) -> Tensor:
        """The norm of the critic's gradient at each image."""
        images = images.requires_grad_(True)
        images = images.view_as(images)  # torch's counter of operations wants no leaf here
        scores = self.critic(images)
        (gradient,) = torch.autograd.grad(
            scores, images, torch.ones_like(scores), create_graph=True, retain_graph=True
        )
        norms: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
        return norms

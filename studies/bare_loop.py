"""The product's own objectives in a bare loop: no checkpoints, no figures, any data.

An objective asks for networks by role and for batches of real "images"; points of a plane are
images of shape [2, 1, 1] as well, so what is trained here is the code that trains pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from monge import objectives
from monge.objectives import Noise, Objective
from monge.objectives.adversarial import Adversarial
from monge.params import TrainParams

Batches = Callable[[int], Tensor]
"""A function that draws so many real points, float32 [n, ...]."""


class Training:
    """An objective, its networks and optimizers, and the numbers it draws.

    `train` is as monge has it where nothing is set, with what a study changes:
    `TrainParams.model_validate({"objective": "wgan-gp", "wgan-gp": {"penalty_weight": 0.1}})`.
    What follows the share of a training that is done, such as noise that falls to none, goes by
    its `steps`.
    """

    def __init__(
        self, train: TrainParams, networks: Mapping[str, nn.Module], real: Batches, seed: int = 0
    ) -> None:
        self.train = train
        self.objective: Objective = objectives.build(train)
        self.networks = {role: networks[role] for role in self.objective.roles}
        self.optimizers = self.objective.optimizers(self.networks)
        self.noise = Noise(seed, train.latent_dim, torch.device("cpu"))
        self.real = real
        self.step = 0

    def iterate(self) -> dict[str, float]:
        """One iteration of the objective; its readings."""
        batches = self.objective.batches_at(self.step)
        self.noise.progress.fill_(min(self.step / self.train.steps, 1.0))
        readings = self.objective.iterate(
            self.networks, self.optimizers, self._reals(), self.noise, batches
        )
        self.step += 1
        return {name: float(value) for name, value in readings.items()}

    def opponent_step(self) -> dict[str, float]:
        """One step of the critic or discriminator alone, the generator as it is; its readings."""
        assert isinstance(self.objective, Adversarial)
        role = self.objective.opponent
        real = self.real(self.train.batch_size)
        draws = self.objective.opponent_draws(self.noise, real)
        loss, readings = self.objective.opponent_loss(self.networks, real, None, *draws)
        self.optimizers[role].zero_grad()
        torch.autograd.backward(loss)
        self.optimizers[role].step()
        self.objective.project(self.networks[role])
        return {name: float(value) for name, value in readings.items()}

    @torch.no_grad()
    def samples(self, n: int, seed: int = 1) -> Tensor:
        """Generate images of n latents of a seed, which no training has seen."""
        dice = torch.Generator().manual_seed(seed)
        latents = torch.randn(n, self.train.latent_dim, generator=dice)
        made: Tensor = self.networks["generator"](latents)
        return made

    def _reals(self) -> Iterator[tuple[Tensor, None]]:
        while True:
            yield self.real(self.train.batch_size), None


def perceptron(widths: Sequence[int], activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Module:
    """Linear layers of these widths, inputs first, with an activation between; [n, ...] to [n, k].

    A width of 1 at the end gives scores [n], as critics have them.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), activation()]
    layers.pop()  # no activation after the last
    if widths[-1] == 1:
        layers.append(nn.Flatten(0))
    return nn.Sequential(*layers)

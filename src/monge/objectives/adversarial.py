"""Two networks against each other: some steps of the opponent, then one of the generator.

What every adversarial method shares: the order of its updates and of its random draws. The
opponent is a critic, or a discriminator where its scores are the logits of a probability. A method
says what each side minimises, over which draws, and what becomes of the opponent after a step.

A conditional training has one such game for each label and minimises their mean: fake images take
the labels of the real ones in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from monge.eager import step
from monge.objectives import augment
from monge.objectives.objective import (
    Execution,
    Follows,
    Labels,
    Networks,
    Noise,
    Optimizers,
    Reals,
    conditioned,
)
from monge.objectives.schedule import CriticSchedule
from monge.params import NET_SECTIONS, TrainParams

Readings = dict[str, Tensor]


class Adversarial:
    """Algorithm 1 of Goodfellow et al. 2014 and of Arjovsky et al. 2017, for any two losses.

    Real and fake images are scored as one batch, which is the same mathematics in one call fewer,
    as long as the opponent does not tie the images of a batch together.
    """

    roles: tuple[str, ...] = ("generator", "critic")

    def __init__(
        self, learning_rate: float, opponent_steps: int, train: TrainParams, how: Execution
    ) -> None:
        schedule = CriticSchedule(opponent_steps, train.extra_critic_steps == "authors")
        self.rates: Mapping[str, float] = dict.fromkeys(self.roles, learning_rate)
        self.batches = schedule.critic_steps  # a fresh one for every step of the opponent
        self.batches_at = schedule.at
        self.batches_before = schedule.before
        self.how = how
        self.augmented = train.augment != "none"
        self.one_pass = not _ties(train)

    @property
    def opponent(self) -> str:
        """The role that plays against the generator."""
        return self.roles[1]

    def iterate(
        self,
        networks: Networks,
        optimizers: Optimizers,
        reals: Reals,
        noise: Noise,
        batches: int,
    ) -> Readings:
        """A step of the opponent for each batch, then one of the generator."""
        opponent = networks[self.opponent].requires_grad_(True)
        for _ in range(batches):
            real, labels = next(reals)
            readings = self._opponent_step(networks, optimizers, real, labels, noise)
        opponent.requires_grad_(False)  # the generator's step needs no gradient of the opponent's
        loss = self._generator_step(networks, optimizers, real, labels, noise)
        return {**readings, "generator_loss": loss}

    def _opponent_step(
        self,
        networks: Networks,
        optimizers: Optimizers,
        real: Tensor,
        labels: Labels,
        noise: Noise,
    ) -> Readings:
        opponent = networks[self.opponent]
        if isinstance(opponent, Follows):
            opponent.follow()
        optimizers[self.opponent].zero_grad(set_to_none=True)
        draws = self.opponent_draws(noise, real)
        readings = []
        for some, theirs, shown, *drawn in self._parts(networks, real, labels, noise, draws):
            loss, seen = self.opponent_loss(shown, some, theirs, *drawn)
            torch.autograd.backward(loss / self.how.parts)
            readings.append(seen)
        self._update(opponent, optimizers[self.opponent])
        self.project(opponent)
        return _mean(readings)

    def _generator_step(
        self,
        networks: Networks,
        optimizers: Optimizers,
        real: Tensor,
        labels: Labels,
        noise: Noise,
    ) -> Tensor:
        optimizers["generator"].zero_grad(set_to_none=True)
        draws = self.generator_draws(noise, real)
        readings = []
        for some, theirs, shown, *drawn in self._parts(networks, real, labels, noise, draws):
            loss = self.generator_loss(shown, optimizers, some, theirs, *drawn)
            torch.autograd.backward(loss / self.how.parts)
            readings.append({"loss": loss.detach()})
        self._update(networks["generator"], optimizers["generator"])
        return _mean(readings)["loss"]

    def _update(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        if self.how.average is not None:
            self.how.average(network)
        step(optimizer)

    def _parts(
        self,
        networks: Networks,
        real: Tensor,
        labels: Labels,
        noise: Noise,
        draws: tuple[Tensor, ...],
    ) -> Iterator[tuple[Any, ...]]:
        """The batch in the parts that are computed one after the other, as the opponent sees it.

        Real images, their labels, the networks, and the draws. Where images are augmented, these
        real ones are, and those that the generator among these networks makes.
        """
        seen = augment.views(noise, len(real)) if self.augmented else ()
        parts = self.how.parts
        rows = (real, labels, *seen, *draws)
        cut = ([None] * parts if tensor is None else tensor.chunk(parts) for tensor in rows)
        for some, theirs, *drawn in zip(*cut, strict=True):
            if not self.augmented:
                yield some, theirs, networks, *drawn
                continue
            of_real, of_fake, drawn = drawn[:2], drawn[2:4], drawn[4:]
            generator = augment.Shown(networks["generator"], *of_fake)
            shown = {**networks, "generator": generator}
            yield augment.transformed(some, *of_real), theirs, shown, *drawn

    def opponent_draws(self, noise: Noise, real: Tensor) -> tuple[Tensor, ...]:
        """The random numbers of an opponent's step, an image's in each row; the latents first."""
        return (noise.latents(len(real)),)

    def generator_draws(self, noise: Noise, real: Tensor) -> tuple[Tensor, ...]:
        """The same for the generator's step. `real` is the last batch that the opponent saw."""
        return (noise.latents(len(real)),)

    def opponent_loss(
        self, networks: Networks, real: Tensor, labels: Labels, latents: Tensor, *draws: Tensor
    ) -> tuple[Tensor, Readings]:
        """Compute what the opponent minimises, and what to log of it."""
        raise NotImplementedError

    def generator_loss(
        self,
        networks: Networks,
        optimizers: Optimizers,
        real: Tensor,
        labels: Labels,
        latents: Tensor,
        *draws: Tensor,
    ) -> Tensor:
        """Compute what the generator minimises; the optimizers are there to be read."""
        raise NotImplementedError

    def project(self, opponent: nn.Module) -> None:
        """Bring the opponent back to the allowed set after its step."""

    def fixed_fakes(self, networks: Networks, latents: Tensor, labels: Labels) -> Tensor:
        """Generated images for an opponent's step: no graph goes through them."""
        with torch.no_grad(), self.how.fast():
            return conditioned(networks["generator"], latents, labels).to(latents.dtype)

    def scores(
        self,
        opponent: Callable[..., Tensor],
        real: Tensor,
        fake: Tensor,
        labels: Labels,
        *,
        exact: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """The opponent's scores [n] of real and of fake images; `exact` ones in float32."""
        with nullcontext() if exact else self.how.fast():
            if self.one_pass:
                both = None if labels is None else torch.cat([labels, labels])
                of_both = conditioned(opponent, torch.cat([real, fake]), both)
                of_real, of_fake = of_both[: len(real)], of_both[len(real) :]
            else:
                of_real = conditioned(opponent, real, labels)
                of_fake = conditioned(opponent, fake, labels)
        return of_real.to(real.dtype), of_fake.to(real.dtype)


def _ties(train: TrainParams) -> bool:
    """Tell whether an image's score rests on the rest of its batch."""
    of_net = getattr(train, NET_SECTIONS[train.net])
    norm, kernels = getattr(of_net, "critic_norm", "none"), getattr(of_net, "minibatch_kernels", 0)
    return bool(norm == "batch" or kernels)


def _mean(readings: list[Readings]) -> Readings:
    """The readings of a batch from those of its parts, which are of one size."""
    if len(readings) == 1:
        return readings[0]
    return {name: torch.stack([seen[name] for seen in readings]).mean() for name in readings[0]}

"""`train.augment: ada`: how often images are transformed follows how much the opponent overfits.

    r = (E_train[D] - E_held-out[D]) / (E_train[D] - E_generated[D])

is 0 where the opponent scores held-out images as it does the training images, and 1 where it scores
them as generated ones (Karras et al. 2020, equation 1, r_v). It needs no scale, so that it serves a
critic, too. Every `EVERY` iterations the chance of each transformation goes up where r is over
`TARGET`, and down where it is not.
"""

from __future__ import annotations

import functools
from contextlib import ExitStack

import torch
from torch import Tensor

from monge.data.batches import normalise
from monge.data.packed import PackedDataset, Split
from monge.latents import latents
from monge.objectives import conditioned
from monge.objectives.augment import DRAWS, transformed
from monge.objectives.objective import Labels
from monge.params import TrainParams
from monge.training import labels
from monge.training.state import TrainingState
from monge.training.watch.curves import untouched

TARGET = 0.6
"""Karras et al. 2020, section 3.2."""

EVERY = 16
IMAGES = 256
"""Images of each of the three kinds that it looks at: always the same, transformed alike."""

IMAGES_TO_MOST = 100_000
"""Generated images in which the chance can go from 0 to 1. Theirs are 500,000, of trainings a
hundred times as long as those here, and 100,000 of those that go on from another."""

MOST = 0.8
"""More often than this, transformed images can pass for the real thing (their section 2.2)."""

_SEED = 2203  # of the latents and the transformations; the grids', looks' and judge's are others


class Adaptation:
    """Moves `state.noise.chance`, which is in the checkpoint; without `ada` it does nothing."""

    def __init__(self, train: TrainParams, dataset: PackedDataset, device: torch.device) -> None:
        self.train, self.dataset, self.device = train, dataset, device

    def follow(self, state: TrainingState) -> None:
        """After each iteration: look if it is due. Nothing is read from the device."""
        if self.train.augment != "ada" or state.step % EVERY:
            return
        step = EVERY * self.train.batch_size / IMAGES_TO_MOST
        overfits = _overfits(*self._mean_scores(state))
        state.noise.chance.add_(overfits * 2.0 - 1.0, alpha=step).clamp_(0.0, MOST)

    @torch.no_grad()
    def _mean_scores(self, state: TrainingState) -> tuple[Tensor, Tensor, Tensor]:
        """Average the scores of training, held-out and generated images."""
        generator, opponent = state.networks.values()
        chance = state.noise.chance.expand(IMAGES)
        with ExitStack() as stack:
            for network in (generator, opponent):
                stack.enter_context(untouched(network))
            means = []
            for images, known in self._real:
                seen = transformed(images, self._draws[: len(images)], chance[: len(images)])
                means.append(conditioned(opponent, seen, known).mean())
            inputs = self._inputs
            seen = transformed(inputs.draw(generator), self._draws, chance)
            means.append(conditioned(opponent, seen, inputs.labels).mean())
        trained_on, held_out, generated = means
        return trained_on, held_out, generated

    @functools.cached_property
    def _real(self) -> list[tuple[Tensor, Labels]]:
        return [self._some(split) for split in (self.dataset.train, self.dataset.validation)]

    def _some(self, split: Split) -> tuple[Tensor, Labels]:
        places = split.spread(IMAGES)
        images = normalise(torch.from_numpy(split.take(places)).to(self.device))
        return images, labels.of(self.train, split, places, self.device)

    @functools.cached_property
    def _inputs(self) -> labels.Inputs:
        return labels.fixed(self.train, self.dataset, _SEED, IMAGES, self.device)

    @functools.cached_property
    def _draws(self) -> Tensor:
        """Uniform numbers from normal ones, which are the same on every machine."""
        normal = torch.from_numpy(latents(_SEED, 1, IMAGES, DRAWS)).to(self.device)
        uniform: Tensor = torch.special.ndtr(normal)
        return uniform


def _overfits(trained_on: Tensor, held_out: Tensor, generated: Tensor) -> Tensor:
    """1 where r is over the target, else 0; also where the opponent tells nothing apart yet."""
    apart = trained_on - generated
    return ((trained_on - held_out > TARGET * apart) & (apart > 0)).to(trained_on.dtype)

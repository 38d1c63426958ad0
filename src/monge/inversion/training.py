"""An encoder trained on the generator's own images, whose latents are known.

It learns E(G(z)) = z, and that G draws the same image from its answer. It never sees a real image:
it is as good on those as the generator draws them (Donahue et al. 2017, "Adversarial feature
learning", section 3, call this the latent regressor).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor, nn

from monge.inversion.likeness import Likeness
from monge.labels import drawn
from monge.latents import latents
from monge.objectives import conditioned

HELD_OUT = 1024
_HELD_OUT_SEED = 2**63  # no training's batch is drawn from it

_RATE = 1e-3


class Asked(TypedDict):
    """The bounds that a person asks of a training, and where its random numbers begin."""

    seconds: float
    steps: int
    batch: int
    seed: int


@dataclass(frozen=True)
class Lessons:
    """The settings of `monge train-encoder`; `shares` are those of a conditional's labels.

    `seconds` bounds the training. One that it does not cut short gives the same weights for the
    same `seed`.
    """

    latent_dim: int
    seconds: float = 60.0
    steps: int = 3000
    batch: int = 64
    seed: int = 0
    shares: tuple[float, ...] = ()


@dataclass(frozen=True)
class Learned:
    """The held-out errors, and how many steps were done.

    `latents` is |E(G(z)) - z|^2 by the dimension, 1 for who answers the prior's mean; `images` is
    the distance of G(E(G(z))) from G(z) as a share of the real images' mean's.
    """

    latents: float
    images: float
    steps: int


def train_encoder(
    encoder: nn.Module,
    generator: nn.Module,
    likeness: Likeness,
    how: Lessons,
    advance: Callable[[int], object] = lambda steps: None,
) -> Learned:
    """Train `encoder` in place, by Adam with a rate that falls along a cosine, and test it."""
    ends = time.monotonic() + how.seconds
    device = likeness.mean_image.device
    encoder.train()
    adam = torch.optim.Adam(encoder.parameters(), lr=_RATE)
    done = 0
    while done < how.steps and time.monotonic() < ends:
        z, labels = _drawn(how, how.seed, done * how.batch, how.batch, device)
        with torch.no_grad():
            images = conditioned(generator, z, labels)
        back = encoder(images)
        apart = likeness.distances(conditioned(generator, back, labels), images)
        loss = (back - z).square().mean() + apart.mean()
        adam.param_groups[0]["lr"] = _RATE * 0.5 * (1.0 + math.cos(math.pi * done / how.steps))
        adam.zero_grad()
        loss.backward()
        adam.step()
        done += 1
        advance(1)
    encoder.eval()
    return Learned(*_held_out(encoder, generator, likeness, how), done)


@torch.no_grad()
def _held_out(
    encoder: nn.Module, generator: nn.Module, likeness: Likeness, how: Lessons
) -> tuple[float, float]:
    device = likeness.mean_image.device
    errors, apart, from_mean = 0.0, 0.0, 0.0
    for first in range(0, HELD_OUT, 128):
        z, labels = _drawn(how, _HELD_OUT_SEED, first, 128, device)
        images = conditioned(generator, z, labels)
        back = encoder(images)
        errors += float((back - z).square().mean(1).sum())
        apart += float(likeness.distances(conditioned(generator, back, labels), images).sum())
        from_mean += float(likeness.to_mean(images).sum())
    return errors / HELD_OUT, apart / max(from_mean, 1e-9)


def _drawn(
    how: Lessons, seed: int, first: int, count: int, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    z = torch.from_numpy(latents(seed, first, count, how.latent_dim)).to(device)
    if not how.shares:
        return z, None
    return z, torch.from_numpy(drawn(seed, first, count, how.shares)).to(device)

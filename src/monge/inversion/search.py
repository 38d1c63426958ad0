"""Latents whose images are nearest to given ones, found by descent through the generator.

Creswell and Bharath 2018, "Inverting the generator of a generative adversarial network", from
several starts: the nearest of some thousand drawn samples, as the distance has many valleys.
Latents stay plausible: those longer than nearly all of the prior's cost something.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypedDict

import torch
from torch import Tensor, nn

from monge.inversion.likeness import Likeness
from monge.labels import drawn
from monge.latents import latents
from monge.objectives import conditioned

AT_A_TIME = 256
"""Images that are drawn and compared at a time."""

_RATE = 0.1
_PRIOR = 1.0

Advance = Callable[[int], object]


class Asked(TypedDict):
    """The bounds that a person asks of a search, and where its random numbers begin."""

    seconds: float
    restarts: int
    steps: int
    samples: int
    seed: int


@dataclass(frozen=True)
class Search:
    """The settings of a search, as `monge project` is asked for it.

    `seconds` bounds the whole. A search that it cuts short depends on the machine's pace; any other
    gives the same latents for the same `seed`. `label` is that of a conditional generator; with
    None those of the nearest samples are tried, drawn in proportion to `shares`.
    """

    latent_dim: int
    seconds: float = 120.0
    restarts: int = 8
    steps: int = 300
    samples: int = 4096
    seed: int = 0
    shares: tuple[float, ...] = ()
    label: int | None = None


@dataclass(frozen=True)
class Found:
    """For each image: latents [n, z], labels [n] or None, and the nearest sample's distance [n].

    `steps` and `samples` are how many there were: fewer than asked for when time was short.
    """

    latents: Tensor
    labels: Tensor | None
    sample_distances: Tensor
    steps: int
    samples: int


def search(
    generator: nn.Module,
    targets: Tensor,
    likeness: Likeness,
    how: Search,
    guesses: Tensor | None = None,
    advance: Advance = lambda steps: None,
) -> Found:
    """Find latents of `targets` [n, C, H, W] in -1..1, all starts of some images as one batch.

    `guesses` [n, z] are one more start for each, an encoder's answer; of a conditional generator
    with the nearest sample's label. `advance` is told of every step.
    """
    ends = time.monotonic() + how.seconds
    with torch.no_grad():
        wanted = likeness.features(targets)
        starts, labels, nearest, drawn_samples = _nearest(generator, wanted, likeness, how)
    if guesses is not None:
        starts = torch.cat([starts, guesses[:, None]], 1)
        labels = None if labels is None else torch.cat([labels, labels[:, :1]], 1)
    size = max(1, AT_A_TIME // starts.shape[1])
    parts: list[tuple[Tensor, Tensor | None]] = []
    least = how.steps
    for start in range(0, len(targets), size):
        rows = slice(start, start + size)
        left = (ends - time.monotonic()) * min(1.0, size / (len(targets) - start))
        some = None if labels is None else labels[rows]
        task = replace(how, seconds=left)
        found, label, done = _descend(
            generator, wanted[rows], starts[rows], some, likeness, task, advance
        )
        parts.append((found, label))
        least = min(least, done)
    of = [label for _, label in parts if label is not None]
    best = torch.cat([part for part, _ in parts])
    return Found(best, torch.cat(of) if of else None, nearest, least, drawn_samples)


def _nearest(
    generator: nn.Module, wanted: Tensor, likeness: Likeness, how: Search
) -> tuple[Tensor, Tensor | None, Tensor, int]:
    """The nearest samples [n, restarts, z], their labels, and the nearest one's distance [n].

    And how many there were: they may take a third of the time.
    """
    ends = time.monotonic() + how.seconds / 3
    device, total, seen = wanted.device, max(how.samples, how.restarts), 0
    drawn_z = torch.from_numpy(latents(how.seed, 0, total, how.latent_dim)).to(device)
    drawn_labels = _labels(how, total, device)
    best = torch.empty((len(wanted), 0), device=device)
    place = torch.empty((len(wanted), 0), dtype=torch.int64, device=device)
    for start in range(0, total, AT_A_TIME):
        rows = slice(start, start + AT_A_TIME)
        some = None if drawn_labels is None else drawn_labels[rows]
        images = conditioned(generator, drawn_z[rows], some)
        apart = torch.cdist(
            wanted, likeness.features(images), compute_mode="donot_use_mm_for_euclid_dist"
        ).square()
        here = torch.arange(start, start + apart.shape[1], device=device).expand_as(apart)
        best, place = torch.cat([best, apart], 1), torch.cat([place, here], 1)
        best, order = best.topk(min(how.restarts, best.shape[1]), dim=1, largest=False)
        place = place.gather(1, order)
        seen = start + apart.shape[1]
        if time.monotonic() > ends:
            break
    labels = None if drawn_labels is None else drawn_labels[place]
    return drawn_z[place], labels, best[:, 0], seen


def _labels(how: Search, count: int, device: torch.device) -> Tensor | None:
    if not how.shares:
        return None
    if how.label is not None:
        return torch.full((count,), how.label, device=device)
    return torch.from_numpy(drawn(how.seed, 0, count, how.shares)).to(device)


def _descend(
    generator: nn.Module,
    wanted: Tensor,
    starts: Tensor,
    labels: Tensor | None,
    likeness: Likeness,
    how: Search,
    advance: Advance,
) -> tuple[Tensor, Tensor | None, int]:
    """From starts [n, k, z] by Adam, whose rate falls along a cosine: the best latents [n, z].

    Their labels, too, and how many steps were done. What is best is the least that was seen.
    """
    ends = time.monotonic() + how.seconds
    count, each, dim = starts.shape
    z = starts.reshape(-1, dim).clone().requires_grad_()
    flat = None if labels is None else labels.reshape(-1)
    aims = wanted.repeat_interleave(each, 0)
    adam = torch.optim.Adam([z], lr=_RATE)
    best, least = z.detach().clone(), torch.full((len(z),), torch.inf, device=z.device)
    done = 0
    for step in range(how.steps + 1):
        costs = _costs(generator, z, flat, aims, likeness)
        with torch.no_grad():
            better = costs < least
            least = torch.where(better, costs, least)
            best = torch.where(better[:, None], z, best)
        if step == how.steps or time.monotonic() >= ends:
            break
        adam.param_groups[0]["lr"] = _RATE * 0.5 * (1.0 + math.cos(math.pi * step / how.steps))
        (z.grad,) = torch.autograd.grad(costs.sum(), [z])
        adam.step()
        done += 1
        advance(count)
    chosen = least.reshape(count, each).argmin(1)
    rows = torch.arange(count, device=z.device)
    return (
        best.reshape(count, each, dim)[rows, chosen],
        None if labels is None else labels[rows, chosen],
        done,
    )


def _costs(
    generator: nn.Module, z: Tensor, labels: Tensor | None, aims: Tensor, likeness: Likeness
) -> Tensor:
    """Distances plus what too long latents cost: [n]."""
    apart = (likeness.features(conditioned(generator, z, labels)) - aims).square().sum(1)
    # A squared length by the dimension: its mean is 1, its deviation the root of 2 / dimension.
    longer = (z.square().mean(1) - 1.0 - 2.0 * math.sqrt(2.0 / z.shape[1])).relu()
    return apart + _PRIOR * longer.square()

"""A short training on pictures, with looks at what it makes.

The networks are the product's (`monge.nets`) and the updates are its objectives'. There is no
average of the weights and no decay of the rates, as in the papers.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monge import nets, objectives
from monge.params import TrainParams
from studies.bare_loop import Batches, Training
from studies.pictures import Images, Judge, Pictures, in_bytes
from studies.study import Conditions

MLP = {"net": "mlp", "mlp": {"depth": 3, "width": 128}, "latent_dim": 16, "batch_size": 64}
"""monge's own networks for the digits (params.yaml): what trains in seconds."""

DCGAN = {"net": "dcgan", "dcgan": {"features": 16}, "latent_dim": 16, "batch_size": 64}
"""Convolutions of as many numbers, about."""


def drawn_from(images: Tensor, seed: int) -> Batches:
    """Batches of chance from images [n, C, H, W]."""
    dice = torch.Generator().manual_seed(seed)

    def real(n: int) -> Tensor:
        return images[torch.randint(len(images), (n,), generator=dice)]

    return real


def training(section: Mapping[str, Any], pictures: Pictures, seed: int) -> Training:
    """A training of a method's networks on these pictures; `section` is one of `train`."""
    torch.manual_seed(seed)
    train = TrainParams.model_validate(section)
    roles = objectives.build(train).roles
    networks = {role: nets.build(role, train, pictures.shape) for role in roles}
    return Training(train, networks, drawn_from(pictures.tensor(), seed), seed)


@dataclass(frozen=True)
class Look:
    """The worth of a training at a step; `readings` are medians since the look before.

    `seconds` are those of the processor that the training alone took.
    """

    step: int
    seconds: float
    readings: Mapping[str, float]
    images: Images
    distance: float
    score: float


def looks(
    of: Training, judge: Judge, at: Conditions, after: Sequence[int], n: int = 1000
) -> list[Look]:
    """Train on, and have n images judged after each of these numbers of steps."""
    seen: list[Look] = []
    spent, readings = 0.0, list[dict[str, float]]()
    for step in at.steps(after[-1]):
        began = time.process_time()
        readings.append(of.iterate())
        spent += time.process_time() - began
        if step + 1 in after:
            images = in_bytes(of.samples(n))
            middle = {k: float(np.median([r[k] for r in readings])) for k in readings[0]}
            worth = judge.distance(images), judge.score(images)
            seen.append(Look(step + 1, spent, middle, images, *worth))
            readings = []
    return seen

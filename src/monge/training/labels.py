"""The labels of a conditional training: how many there are, and those of images that stay.

Without `train.conditional` there are none, and everything here says so with 0 and None.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from monge import labels
from monge.data.packed import PackedDataset, Split
from monge.errors import InputError
from monge.latents import latents
from monge.objectives import conditioned
from monge.params import TrainParams


class Inputs(NamedTuple):
    """The inputs of a generator: latents [n, z] and, where it is conditional, labels [n]."""

    latents: Tensor
    labels: Tensor | None

    def draw(self, generator: nn.Module) -> Tensor:
        """Its images [n, C, H, W]."""
        return conditioned(generator, self.latents, self.labels)

    def split(self, size: int) -> list[Inputs]:
        """The same in parts of at most `size`."""
        parts = torch.split(self.latents, size)
        if self.labels is None:
            return [Inputs(part, None) for part in parts]
        return [Inputs(*both) for both in zip(parts, torch.split(self.labels, size), strict=True)]


def count(train: TrainParams, dataset: PackedDataset) -> int:
    """Count the labels that the networks take. Raises InputError for images that have none."""
    if not train.conditional:
        return 0
    classes = len(dataset.class_names)
    if not classes:
        raise InputError(
            "train.conditional: needs images with classes, and these have none. Put them into a "
            "sub-folder for each class and run `monge prepare`, or set train.conditional: false."
        )
    if classes > labels.MAX_LABELS:
        raise InputError(
            f"train.conditional: {classes:,} classes are more than {labels.MAX_LABELS:,}. Merge "
            "some, or set train.conditional: false."
        )
    return classes


def shares(train: TrainParams, dataset: PackedDataset) -> tuple[float, ...]:
    """Give the share of the training images with each label; empty without labels."""
    classes = count(train, dataset)
    if not classes:
        return ()
    counts = np.bincount(np.asarray(dataset.train.labels), minlength=classes)
    return tuple(float(share) for share in counts / counts.sum())


def of(train: TrainParams, split: Split, places: np.ndarray, device: torch.device) -> Tensor | None:
    """The labels of some images of a split."""
    if not train.conditional or split.labels is None:
        return None
    return torch.from_numpy(np.asarray(split.labels[places], np.int64)).to(device)


def fixed(
    train: TrainParams, dataset: PackedDataset, seed: int, n: int, device: torch.device
) -> Inputs:
    """Latents of a seed, and the labels that an exported file would give them."""
    drawn = torch.from_numpy(latents(seed, 0, n, train.latent_dim)).to(device)
    known = shares(train, dataset)
    if not known:
        return Inputs(drawn, None)
    return Inputs(drawn, torch.from_numpy(labels.drawn(seed, 0, n, known)).to(device))


def in_order(
    train: TrainParams, dataset: PackedDataset, seed: int, n: int, device: torch.device
) -> Inputs:
    """The same with the labels one after the other, an equal number of each: for a picture."""
    inputs = fixed(train, dataset, seed, n, device)
    if inputs.labels is None:
        return inputs
    classes = len(dataset.class_names)
    return inputs._replace(labels=torch.arange(n, device=device) * classes // n)

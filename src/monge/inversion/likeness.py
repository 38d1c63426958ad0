"""Tells how far apart two images are, for a search for latents: pixels and a pyramid's levels.

Each term is a mean squared difference as a share of the real images' variance there, so that fine
detail, of little contrast, counts like the large. It needs no network; it has a gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

from monge.metrics.pyramid import levels

_LEAST_VARIANCE = 1e-4  # less than a grey level's square: a border that is always black


class Likeness:
    """Squared distances of images, 1 being how far real images lie from their mean on average."""

    def __init__(self, real: Tensor) -> None:
        """Take the scales, and the mean image, of real images [n, C, H, W] in -1..1."""
        self.mean_image = real.mean(0, keepdim=True)
        parts = _terms(real)
        self._scales = [(_variance(part) * part.shape[1] * len(parts)) ** -0.5 for part in parts]

    def features(self, images: Tensor) -> Tensor:
        """Vectors [n, d] of images [n, C, H, W] in -1..1, whose squared distances are meant."""
        pairs = zip(_terms(images), self._scales, strict=True)
        return torch.cat([part * scale for part, scale in pairs], 1)

    def distances(self, images: Tensor, others: Tensor) -> Tensor:
        """The distance of each pair of images: [n]."""
        return (self.features(images) - self.features(others)).square().sum(1)

    def to_mean(self, images: Tensor) -> Tensor:
        """The distance of each image from the real images' mean, which knows nothing of it: [n]."""
        return self.distances(images, self.mean_image.expand_as(images))


def _terms(images: Tensor) -> list[Tensor]:
    """The pixels, then the levels, all patches of an image in one row: each [n, d]."""
    count = len(images)
    return [images.flatten(1), *(level.reshape(count, -1) for level in levels(images))]


def _variance(part: Tensor) -> float:
    return max(float(part.var(0, correction=0).mean()), _LEAST_VARIANCE)

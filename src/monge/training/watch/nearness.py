"""Tells how near a training's images are to the real ones: 100% is noise, 0% other real images.

The share is of the way between the two on a logarithmic scale, because a distance falls by the same
factor, and not by the same amount, from one improvement that an eye can see to the next.
"""

from __future__ import annotations

import functools
import logging
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from monge import terminal
from monge.data.batches import normalise
from monge.data.packed import PackedDataset
from monge.metrics.frechet import Gaussian
from monge.metrics.pyramid import PyramidMoments, as_seen, pyramid_distance

GRIDS = "grids"
"""The folder of the sample grids beside the checkpoints; monge.training.watch.grids fills it."""

_IMAGES = 1000
_AT_A_TIME = 250

log = logging.getLogger(__name__)


class Nearness:
    """The two ends of the way, measured once by the figure that a look finds."""

    def __init__(self, dataset: PackedDataset, held_out: Sequence[Gaussian]) -> None:
        self.dataset, self.held_out = dataset, held_out

    def share_left(self, figure: float) -> float:
        """Give the share left of the way from noise (1) to the real images (0)."""
        noise, real = self._ends
        if not 0.0 < real < noise:
            return math.nan
        return max(0.0, math.log(max(figure, real) / real) / math.log(noise / real))

    def tell(self, figure: float, step: int, steps: int, folder: Path) -> None:
        """Log it, with the newest sample picture below `folder`, and show that in a terminal."""
        share = self.share_left(figure)
        if math.isnan(share):
            return
        newest = max((folder / GRIDS).glob("step-*.png"), default=None)
        picture = "" if newest is None else f"; samples in {newest}"
        told = f"{100 * share:.0f}% from the real images (100% is noise, 0% other real ones)"
        log.info("step %d of %d: %s%s", step, steps, told, picture)
        if newest is not None:
            terminal.show(newest, sys.stderr)

    @functools.cached_property
    def _ends(self) -> tuple[float, float]:
        images = self.dataset.train
        real = images.take(images.spread(_IMAGES))
        return self._distance(shuffled(real)), self._distance(real)

    def _distance(self, images: NDArray[np.uint8]) -> float:
        moments = PyramidMoments()
        for first in range(0, len(images), _AT_A_TIME):
            part = normalise(torch.from_numpy(images[first : first + _AT_A_TIME]))
            moments.add(as_seen(part))
        return pyramid_distance(moments.gaussians(), list(self.held_out))


def shuffled(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Noise of the images' own levels: every channel's pixels [n, C, H, W] at random places."""
    rng = np.random.default_rng(0)
    by_channel = np.moveaxis(images, 1, 0)
    mixed = [rng.permutation(channel.reshape(-1)) for channel in by_channel]
    return np.ascontiguousarray(np.moveaxis(np.stack(mixed).reshape(by_channel.shape), 0, 1))

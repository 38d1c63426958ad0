"""Chooses the images that a judgement looks at, their number, and their subsets."""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monge import alpha
from monge.data.packed import PackedDataset, Split
from monge.errors import ModelFileError
from monge.params import EvaluateParams

log = logging.getLogger(__name__)

Images = NDArray[np.uint8]
Indices = NDArray[np.int64]
Sample = Callable[[int, int], Images]
"""(first index, count) -> uint8 [count, H, W, C]; image i is the same in every call."""
Asked = Callable[[int, int], Indices]
"""(first index, count) -> the labels int64 [count] that those images were asked for with."""

MIN_HELD_OUT = 20
_SUBSET_BYTES = 2**29
"""Bounds the memory of one subset of large images in the comparison of pixels."""


class Evidence:
    """The sizes and the seeded choice of images that all figures of one judgement share.

    `images` generated ones are cut into `subsets` of `subset_size`, no larger than the held-out
    split, so that value and floor are biased alike: the Fréchet distance, the score and every
    Wasserstein distance between samples depend on the sample size. `reference` are training images,
    `held_out` the held-out ones, both int64 indices in a seeded order. `labels` are those that a
    conditional generator is given.
    """

    def __init__(
        self,
        sample: Sample,
        dataset: PackedDataset,
        params: EvaluateParams,
        generator_hash: str,
        labels: Asked | None = None,
    ) -> None:
        self._sample, self._generator_hash, self.labels = sample, generator_hash, labels
        self.dataset, self.params = as_seen(dataset), params
        generator = np.random.default_rng(params.seed)
        self.reference = _choose(generator, len(dataset.train), params.images)
        self.held_out = _choose(generator, len(dataset.validation), params.images)
        self.subsets = params.repeats
        if len(self.held_out) < MIN_HELD_OUT:
            log.warning(
                "no floor: %d held-out images are too few (needs %d). "
                "Raise prepare.validation_fraction for one.",
                len(self.held_out),
                MIN_HELD_OUT,
            )
            self.held_out = self.held_out[:0]
        else:
            self.subsets = max(params.repeats, -(-params.images // len(self.held_out)))
        self.subset_size = params.images // self.subsets
        per_image = int(np.prod(dataset.image_shape))
        self.transport_size = min(
            params.transport_images,
            self.subset_size,
            len(self.reference),
            max(10, _SUBSET_BYTES // per_image),
        )

    def generated(self, first: int, count: int) -> Images:
        """Draw generated images: uint8 [count, C, H, W].

        Raises ModelFileError when they are not of the dataset's shape.
        """
        images = self._sample(first, count)
        channels, height, width = self.dataset.image_shape
        if images.dtype != np.uint8 or images.shape != (count, height, width, channels):
            raise ModelFileError(
                f"the generator makes images {list(images.shape[1:])} and the dataset has "
                f"{[height, width, channels]} (height, width, channels). "
                "Prepare, train and export with the same prepare.resolution and prepare.colour."
            )
        return alpha.premultiplied(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))

    def generated_subset(self, number: int, size: int) -> Images:
        """Draw one of the disjoint subsets of a size: uint8 [size, C, H, W]."""
        parts = [
            self.generated(number * size + start, min(self.params.batch_size, size - start))
            for start in range(0, size, self.params.batch_size)
        ]
        return np.concatenate(parts)

    def protocol(self, figure: str, **particulars: Any) -> dict[str, Any]:
        """Say what a reader must know to compare the figure; without its hash."""
        return {
            "figure": figure,
            "definition": 1,
            "reference_split": "train",
            "floor_split": "validation" if len(self.held_out) else None,
            "resizer": "none",
            "seed": self.params.seed,
            "dataset_hash": self.dataset.content_hash,
            "generator_hash": self._generator_hash,
            **particulars,
        }


def _choose(generator: np.random.Generator, available: int, wanted: int) -> Indices:
    chosen: Indices = generator.choice(available, min(available, wanted), replace=False)
    return chosen


def shown(images: Images) -> Images:
    """uint8 [n, C, H, W] as [n, H, W, C], the way pictures are drawn: straight."""
    return np.ascontiguousarray(alpha.straight(images).transpose(0, 2, 3, 1))


class _Seen(Split):
    """A split whose images are premultiplied when they are taken."""

    def take(self, indices: NDArray[np.integer[Any]]) -> Images:
        return alpha.premultiplied(super().take(indices))


def as_seen(dataset: PackedDataset) -> PackedDataset:
    """A dataset whose images are as they look: premultiplied, where they have an opacity."""
    if dataset.image_shape[0] != alpha.CHANNELS:
        return dataset
    seen = copy.copy(dataset)
    seen.train, seen.validation = (
        _Seen(split.shards, split.labels) for split in (dataset.train, dataset.validation)
    )
    return seen


def progress(count: int, what: str) -> Iterator[int]:
    """0 .. count − 1, with a bar on a terminal when it takes over two seconds."""
    from tqdm import tqdm

    yield from tqdm(range(count), what, delay=2, leave=False, disable=not sys.stderr.isatty())

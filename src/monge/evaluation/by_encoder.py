"""Tests whether images come back: figures and pictures of a generator that has an encoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monge.data.packed import PackedDataset
from monge.evaluation.evidence import Evidence, shown
from monge.evaluation.judgement import Figure, Returned, from_error
from monge.latents import latents, slerp

Images = NDArray[np.uint8]
Latents = NDArray[np.float32]
Labels = NDArray[np.int64] | None

ERROR, SHARE = "reconstruction_error", "reconstruction_share"
NAMES = (ERROR, SHARE)

MOST = 2000
PAIRS, WALKS, STEPS = 32, 6, 10
_PRIOR_SEED = 3571


@dataclass(frozen=True)
class Way:
    """There: images uint8 [n, H, W, C] to latents. Back: latents and labels to such images."""

    there: Callable[[Images], Latents]
    back: Callable[[Latents, Labels], Images]


def returned(evidence: Evidence, way: Way) -> tuple[dict[str, Figure], Returned]:
    """The figures of held-out images, and what to show of them.

    The error is the squared distance of an image in -1..1 to its reconstruction, summed over its
    values, as a training logs it; the share is that by the error of the mean training image, drawn
    for every one.
    """
    dataset = evidence.dataset
    split = dataset.validation
    places = split.spread(MOST)
    images = shown(split.take(places))
    labels = None if split.labels is None else np.asarray(split.labels[places], np.int64)
    codes = way.there(images)
    back = way.back(codes, labels)
    each, mean = _errors(images, back), _errors(images, _mean_image(dataset)[None])
    n, protocol = len(each), {"images": len(each), "reference_split": "validation"}
    error = float(each.std(ddof=1) / np.sqrt(n)) if n > 1 else 0.0
    share = each.mean() / mean.mean()
    of_share = (each - share * mean) / mean.mean()  # of a ratio, to first order
    noise = float(of_share.std(ddof=1) / np.sqrt(n)) if n > 1 else 0.0
    figures = {
        ERROR: from_error(
            float(each.mean()), error, max(n, 2), None, evidence.protocol(ERROR, **protocol)
        ),
        SHARE: from_error(
            float(share), noise, max(n, 2), None, evidence.protocol(SHARE, **protocol)
        ),
    }
    few = np.linspace(0, n - 1, min(PAIRS, n), dtype=np.int64)
    drawn = latents(_PRIOR_SEED, 0, n, codes.shape[1])
    return figures, Returned(images[few], back[few], _walks(way, codes, labels), codes, drawn)


def _walks(way: Way, codes: Latents, labels: Labels) -> Images:
    """From a real image's code to another's, on the sphere, under the first one's label."""
    rows = min(WALKS, len(codes) // 2)
    ends = np.linspace(0, len(codes) - 1, 2 * rows, dtype=np.int64)
    starts, stops = ends[:rows], ends[rows:]  # of different classes, where they are in order
    between = slerp(codes[starts][:, None], codes[stops][:, None], np.linspace(0.0, 1.0, STEPS))
    known = None if labels is None else np.repeat(labels[starts], STEPS)
    drawn = way.back(between.reshape(rows * STEPS, -1).astype(np.float32), known)
    return drawn.reshape(rows, STEPS, *drawn.shape[1:])


def _errors(images: Images, others: NDArray[Any]) -> NDArray[np.float64]:
    apart = (images.astype(np.float64) - others) / 127.5
    each: NDArray[np.float64] = np.square(apart).reshape(len(images), -1).sum(axis=1)
    return each


def _mean_image(dataset: PackedDataset) -> NDArray[np.float64]:
    """Average training images from all over the split: [H, W, C]."""
    images = dataset.train.take(dataset.train.spread(10 * MOST))
    mean: NDArray[np.float64] = shown(images).mean(axis=0)
    return mean

"""Figures computed on the pixels themselves: Wasserstein distances, nearest training images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from monge.evaluation.evidence import Evidence, progress, shown
from monge.evaluation.judgement import Figure, Neighbours, from_repeats
from monge.metrics.distances import nearest
from monge.metrics.transport import sliced_wasserstein1, wasserstein1

Images = NDArray[np.uint8]

NEIGHBOURS = 4
NEIGHBOURS_SHOWN = 8
_QUERIES = 500
_POOL = 100_000
_POOL_BLOCK_BYTES = 2**24
_UNIT = "Euclidean distance of images with pixels in 0..1"


def pixel_figures(evidence: Evidence) -> dict[str, Figure]:
    """`wasserstein1_pixels`, the same for the mean image in place of a sample, and the sliced one.

    A finite set's Wasserstein distance rewards blur: with few images for their dimension, copies
    of the mean training image come closer to real images than other real images do. Hence the mean
    image's own figure beside it, and hence it must not decide a promotion.
    """
    size, repeats = evidence.transport_size, evidence.params.repeats
    exact, exact_floor, mean_score = [], [], []
    sliced, sliced_floor = [], []
    mean = _mean_image(evidence)
    for number in progress(repeats, "Wasserstein distances"):
        real = _subset(evidence, number, held_out=False)
        made = evidence.generated_subset(number, size).reshape(size, -1)
        exact.append(wasserstein1(made, real) / 255.0)
        sliced.append(_sliced(evidence, made, real))
        # All the mass at one point: every matching costs the same.
        mean_score.append(float(np.linalg.norm(real - mean, axis=1).mean()) / 255.0)
        if len(evidence.held_out):
            other = _subset(evidence, number, held_out=True)
            exact_floor.append(wasserstein1(other, real) / 255.0)
            sliced_floor.append(_sliced(evidence, other, real))
    protocol = {
        "real_images": min(size * repeats, len(evidence.reference)),
        "generated_images": size * repeats,
        "subsets": repeats,
        "images_per_subset": size,
        "noise": "standard error over disjoint subsets",
        "unit": _UNIT,
    }
    projections = evidence.params.projections
    return {
        "wasserstein1_pixels": from_repeats(
            exact, exact_floor, "lower", evidence.protocol("wasserstein1_pixels", **protocol)
        ),
        "wasserstein1_mean_image": from_repeats(
            mean_score,
            exact_floor,
            "neither",
            evidence.protocol("wasserstein1_mean_image", **protocol),
        ),
        "sliced_wasserstein": from_repeats(
            sliced,
            sliced_floor,
            "lower",
            evidence.protocol("sliced_wasserstein", projections=projections, **protocol),
        ),
    }


def neighbours(evidence: Evidence) -> tuple[Figure, Neighbours]:
    """`nearest_train_distance`, and generated images with the training images nearest to them.

    The figure is the median distance of generated images to their nearest training image, over that
    of held-out ones (without those: in pixel units). Well under 1 says that training images are
    copied, over 1 that images are unlike any real one, so neither direction is better.
    """
    count = min(_QUERIES, evidence.transport_size)
    made = evidence.generated_subset(0, count)
    held_out = evidence.dataset.validation.take(evidence.held_out[:count])
    pool = min(_POOL, len(evidence.dataset.train))
    k = min(NEIGHBOURS, pool)
    queries = np.concatenate([made, held_out]).reshape(count + len(held_out), -1)
    found, distances = nearest(queries, _blocks(evidence, pool), k)
    distances /= 255.0
    unit = float(np.median(distances[count:, 0])) if len(held_out) else 1.0
    unit = unit or 1.0  # every held-out image has a copy among the training images
    parts = np.array_split(distances[:count, 0], evidence.params.repeats)
    figure = from_repeats(
        [float(np.median(part)) / unit for part in parts],
        [1.0] if len(held_out) else [],
        "neither",
        evidence.protocol(
            "nearest_train_distance",
            real_images=pool,
            generated_images=count,
            held_out_images=len(held_out),
            subsets=evidence.params.repeats,
            noise="standard error over disjoint subsets",
            unit="median over that of held-out images" if len(held_out) else _UNIT,
        ),
    )
    rows = min(NEIGHBOURS_SHOWN, count)
    pictures = [shown(evidence.dataset.train.take(row)) for row in found[:rows]]
    return figure, Neighbours(shown(made[:rows]), np.stack(pictures), distances[:rows])


def _sliced(evidence: Evidence, x: Images, y: Images) -> float:
    params = evidence.params
    return sliced_wasserstein1(x, y, params.projections, params.seed) / 255.0


def _subset(evidence: Evidence, number: int, *, held_out: bool) -> Images:
    """Take the number-th real subset [n, d]; start over where the split is used up."""
    order = evidence.held_out if held_out else evidence.reference
    split = evidence.dataset.validation if held_out else evidence.dataset.train
    size = evidence.transport_size
    chosen = order[(number * size + np.arange(size)) % len(order)]
    return split.take(chosen).reshape(size, -1)


def _mean_image(evidence: Evidence) -> NDArray[np.float32]:
    """Mean of the reference images [d], rounded to bytes as a generator's output would be."""
    total = np.zeros(int(np.prod(evidence.dataset.image_shape)))
    for start in range(0, len(evidence.reference), 256):
        part = evidence.dataset.train.take(evidence.reference[start : start + 256])
        total += part.reshape(len(part), -1).sum(axis=0, dtype=np.float64)
    return np.rint(total / len(evidence.reference)).astype(np.float32)


def _blocks(evidence: Evidence, pool: int) -> Iterator[Images]:
    """Yield the first `pool` training images in blocks [b, d]."""
    per_block = max(1, _POOL_BLOCK_BYTES // int(np.prod(evidence.dataset.image_shape)))
    per_block = min(per_block, 4096)
    for number in progress(-(-pool // per_block), "nearest training images"):
        start = number * per_block
        block = evidence.dataset.train.take(np.arange(start, min(start + per_block, pool)))
        yield block.reshape(len(block), -1)

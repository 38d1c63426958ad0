"""`monge metrics A B`: two sets of images of any origin, each figure computed on all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from monge import sizes
from monge.alpha import COLOURS, premultiplied
from monge.errors import InputError
from monge.evaluation.by_pixels import compare_pixels
from monge.evaluation.catalogue import CATALOGUE, named
from monge.evaluation.comparison import (
    MOST_COMPARED,
    MOST_EXTRAPOLATED,
    PERMUTATIONS,
    Comparison,
    Seen,
    see,
)
from monge.evaluation.evidence import progress
from monge.evaluation.judgement import Figure, from_error
from monge.metrics import mmd
from monge.metrics.features import Extractor
from monge.metrics.frechet import extrapolated, frechet_distance
from monge.metrics.scores import classifier_score
from monge.params import EvaluateParams

FEWEST_IMAGES = 20
"""Images a side."""

Images = NDArray[np.uint8]
Values = dict[str, float]


class IndexedImages(Protocol):
    """Images that can be had by their index."""

    def __len__(self) -> int: ...

    def take(self, indices: NDArray[np.integer[Any]]) -> Images:
        """Images uint8 [k, C, H, W]."""


@dataclass(frozen=True)
class Side:
    """One of the two sets, through the extractor, in a seeded order."""

    images: IndexedImages
    order: NDArray[np.int64]
    seen: Seen

    def part(self, which: slice) -> Side:
        """Some of them."""
        p = self.seen.probabilities
        seen = Seen(self.seen.features[which], None if p is None else p[which])
        return Side(self.images, self.order[which], seen)


def _shape_of_both(made: IndexedImages, real: IndexedImages) -> tuple[int, int, int]:
    """The [C, H, W] of two sets that can be compared. Raises InputError for others."""
    if min(len(made), len(real)) < FEWEST_IMAGES:
        raise InputError(
            f"at least {FEWEST_IMAGES} images a side are needed, got {len(made)} and {len(real)}. "
            "Add images to the smaller one, or name another."
        )
    shape = made.take(np.array([0])).shape[1:]
    other = real.take(np.array([0])).shape[1:]
    if shape != other:
        raise InputError(
            f"the images of the two sides differ in channels or size: {_told(shape)} and "
            f"{_told(other)}. Leave out --size and --colour, or give those of the side that has "
            "its own."
        )
    return shape[0], shape[1], shape[2]


def _told(shape: tuple[int, ...]) -> str:
    """An image's [C, H, W] in a sentence."""
    channels, height, width = shape
    return f"{sizes.told(width, height)} in {COLOURS[channels]}"


def compare_sets(
    made: IndexedImages,
    real: IndexedImages,
    look: Extractor,
    params: EvaluateParams,
    origin: Mapping[str, str],
) -> dict[str, Figure]:
    """Every figure of two sets that needs no training of a generator; `real` is the reference.

    The value is computed on at most `params.images` of each side as a whole, as in the literature;
    its noise is the standard error over `params.repeats` disjoint subsets of `made`, and the floor
    sets one half of `real` against the other, so at half the size. `origin` (hashes by side) goes
    into the protocol. Raises InputError below FEWEST_IMAGES a side.
    """
    shape = _shape_of_both(made, real)
    a, b = _side(made, look, params, "first set"), _side(real, look, params, "second set")
    square = mmd.median_square(b.seen.features)
    comparison = Comparison(square, params.transport_images, params.projections, params.seed)
    repeats = max(2, min(params.repeats, len(a.order) // 10))
    whole, floor, *parts = _compared(a, b, repeats, comparison, params)
    tested = min(len(a.order), len(b.order), 1000)
    p_value = mmd.permutation_p_value(
        a.seen.features[:tested], b.seen.features[:tested], mmd.rbf(square), PERMUTATIONS,
        params.seed,
    )  # fmt: skip
    protocol = {
        "real_images": len(b.order),
        "generated_images": len(a.order),
        "floor_images": len(b.order) // 2,
        "noise": f"standard error over {repeats} disjoint subsets",
        "extractor": look.name,
        "extractor_hash": look.hash,
        "resizer": look.resizer(shape),
        "seed": params.seed,
        **origin,
    }
    particulars = comparison.particulars(min(tested, MOST_COMPARED))
    names = {figure: named(figure, look.name) for figure in whole}
    names = dict(sorted(names.items(), key=lambda pair: list(CATALOGUE).index(pair[1])))
    return {
        name: from_error(
            whole[figure],
            float(np.std([part[figure] for part in parts], ddof=1) / np.sqrt(repeats)),
            repeats,
            floor[figure],
            {"figure": name, "definition": 1, **protocol, **particulars.get(figure, {})},
            p_value if figure == "mmd_rbf" else None,
        )
        for figure, name in names.items()
    }


def _compared(
    a: Side, b: Side, repeats: int, comparison: Comparison, params: EvaluateParams
) -> list[Values]:
    """Figures of a beside b, of one half of b beside the other, and of parts of a beside b."""
    half, size = len(b.order) // 2, len(a.order) // repeats
    pairs = [(a, b), (b.part(slice(half)), b.part(slice(half, 2 * half)))]
    pairs += [(a.part(slice(k * size, (k + 1) * size)), b) for k in range(repeats)]
    return [
        _figures(*pairs[number], comparison, params) for number in progress(len(pairs), "comparing")
    ]


def _side(images: IndexedImages, look: Extractor, params: EvaluateParams, what: str) -> Side:
    generator = np.random.default_rng(params.seed)
    order = generator.permutation(len(images))[: params.images]

    def some(start: int, count: int) -> Images:
        return premultiplied(images.take(order[start : start + count]))

    return Side(images, order, see(look, some, len(order), params.batch_size, what))


def _figures(a: Side, b: Side, comparison: Comparison, params: EvaluateParams) -> Values:
    reference = b.seen.gaussian()
    n = len(a.order)
    found = {
        "frechet": frechet_distance(a.seen.gaussian(), reference),
        **comparison.figures(a.seen.features[:MOST_COMPARED], b.seen.features[:MOST_COMPARED]),
    }
    if len(reference.mean) <= MOST_EXTRAPOLATED:
        sizes = {n // 4, n // 2, n}
        found["frechet_extrapolated"] = extrapolated(
            {m: frechet_distance(a.seen.gaussian(m), reference) for m in sizes}
        )
    if a.seen.probabilities is not None:
        found["classifier_score"] = classifier_score(a.seen.probabilities)
    size = min(params.transport_images, n, len(b.order))
    made, real = (premultiplied(side.images.take(side.order[:size])) for side in (a, b))
    return found | compare_pixels(made, real, params.projections, params.seed)

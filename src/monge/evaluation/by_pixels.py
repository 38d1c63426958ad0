"""Figures computed on the pixels themselves: transport, sharpness, nearest training images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from monge.evaluation.baselines import NOISE, Baselines
from monge.evaluation.catalogue import of_images
from monge.evaluation.comparison import MOST_ENTROPIC
from monge.evaluation.evidence import Evidence, progress, shown
from monge.evaluation.judgement import Figure, Neighbours, from_repeats
from monge.metrics.distances import nearest
from monge.metrics.divergences import jensen_shannon, levels, total_variation
from monge.metrics.neighbourhoods import copying
from monge.metrics.transport import sinkhorn_divergence, sliced_wasserstein1, wasserstein

Images = NDArray[np.uint8]
Values = dict[str, float]

NEIGHBOURS = 4
NEIGHBOURS_SHOWN = 8
_QUERIES = 500
_POOL = 100_000
_POOL_BLOCK_BYTES = 2**24
_PATCHES = 4000
_UNIT = "Euclidean distance of images with pixels in 0..1"


def pixel_figures(evidence: Evidence) -> dict[str, Figure]:
    """Distances between generated and training images, subset by subset, and looks of their own.

    A finite set's Wasserstein distance rewards blur: with few images for their dimension, copies
    of the mean training image come closer to real images than other real images do. Hence the mean
    image's own figure beside it, and hence it must not decide a promotion.
    """
    size, params = evidence.transport_size, evidence.params
    projections, seed = params.projections, params.seed
    values: dict[str, list[float]] = defaultdict(list)
    floors: dict[str, list[float]] = defaultdict(list)
    baselines = Baselines(evidence)
    # Rounded to bytes, as a generator's output would be.
    mean = np.rint(baselines.mean).astype(np.float32).reshape(-1)
    for number in progress(params.repeats, "comparing pixels"):
        real = _subset(evidence, number, held_out=False)
        made = evidence.generated_subset(number, size)
        found = compare_pixels(made, real, projections, seed + number)
        # All the mass at one point: every matching costs the same.
        apart = np.linalg.norm(real.reshape(size, -1) - mean, axis=1)
        found["wasserstein1_mean_image"] = float(apart.mean()) / 255.0
        for name, value in found.items():
            values[name].append(value)
        if len(evidence.held_out):
            other = _subset(evidence, number, held_out=True)
            for name, value in compare_pixels(other, real, projections, seed + number).items():
                floors[name].append(value)
    if floors:
        floors["wasserstein1_mean_image"] = floors["wasserstein1_pixels"]
    figures = {
        name: from_repeats(
            found, floors[name], evidence.protocol(name, **_protocol(evidence, name))
        )
        for name, found in values.items()
    }
    real = _subset(evidence, 0, held_out=False)
    # Noise of the right spectrum is no baseline here: most of what these see is the spectrum.
    for baseline, sample in baselines.samples.items():
        if baseline == NOISE:
            continue
        for name, value in _robust(sample(0, size), real, projections, seed).items():
            known = figures[name].baselines or {}
            figures[name] = replace(figures[name], baselines={**known, baseline: value})
    return figures


def compare_pixels(made: Images, real: Images, projections: int, seed: int) -> Values:
    """All figures of two sets [n, C, H, W] of one size.

    Another `seed` chooses other directions: where it changes from subset to subset, the noise
    covers the choice of them, too.
    """
    x, y = made.reshape(len(made), -1), real.reshape(len(real), -1)
    first, first_gap = wasserstein(x, y, 1)
    second, second_gap = wasserstein(x, y, 2)
    some = slice(MOST_ENTROPIC)
    pairs = list(zip(levels(made), levels(real), strict=True))
    return {
        "wasserstein1_pixels": first / 255.0,
        "wasserstein2_pixels": second / 255.0,
        "duality_gap": max(first_gap, second_gap),
        "sinkhorn_pixels": sinkhorn_divergence(x[some], y[some]) / 255.0**2,
        **_robust(made, real, projections, seed),
        "levels_tv": float(np.mean([total_variation(p, q) for p, q in pairs])),
        "levels_js": float(np.mean([jensen_shannon(p, q) for p, q in pairs])),
        **{name: of(made, real) for name, of in of_images()},
    }


def _robust(made: Images, real: Images, projections: int, seed: int) -> Values:
    """Distances of sets or of patches: those here that a mean image does not win at few images."""
    x, y = made.reshape(len(made), -1), real.reshape(len(real), -1)
    whole = sliced_wasserstein1(x, y, projections, seed) / 255.0
    return {
        "frechet_pyramid": _pyramid_distance(made, real),
        "sliced_wasserstein": whole,
        **_octaves(made, real, projections, seed),
    }


def _pyramid_distance(made: Images, real: Images) -> float:
    import torch

    from monge.metrics.pyramid import PyramidMoments, pyramid_distance

    moments = []
    for images in (made, real):
        of_these = PyramidMoments()
        for start in range(0, len(images), 256):
            of_these.add(torch.from_numpy(images[start : start + 256]).float() / 127.5 - 1.0)
        moments.append(of_these.gaussians())
    return pyramid_distance(*moments)


def _octaves(made: Images, real: Images, projections: int, seed: int) -> Values:
    """Sliced distances between 4×4 patches of the detail that each octave adds, in grey levels."""
    generator = np.random.default_rng(0)
    found, side = {}, 16
    for x, y in zip(_details(made), _details(real), strict=True):
        some = generator.permutation(len(x))[:_PATCHES]
        distance = sliced_wasserstein1(x[some], y[some], projections, seed)
        found[f"sliced_wasserstein_octave{side}"] = distance
        side *= 2
    return found


def _details(images: Images) -> list[NDArray[np.float32]]:
    """The octaves of a Laplacian pyramid above 8 pixels a side: each [m, d], in grey levels."""
    import torch

    from monge.metrics.pyramid import levels as pyramid

    return [level.numpy() for level in pyramid(torch.from_numpy(images).float())[1:]]


def _protocol(evidence: Evidence, name: str) -> dict[str, object]:
    size, repeats = evidence.transport_size, evidence.params.repeats
    protocol = {
        "real_images": min(size * repeats, len(evidence.reference)),
        "generated_images": size * repeats,
        "subsets": repeats,
        "images_per_subset": size,
        "noise": "standard error over disjoint subsets",
        "unit": _UNIT,
    }
    if name == "sinkhorn_pixels":
        return {**protocol, "compared_images": min(size, MOST_ENTROPIC), "blur": 0.05}
    if name.startswith("sliced_wasserstein"):
        return {**protocol, "projections": evidence.params.projections}
    return protocol


def neighbours(evidence: Evidence) -> tuple[dict[str, Figure], Neighbours]:
    """`nearest_train_distance`, `copying`, and generated images beside the nearest training images.

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
    protocol = {
        "real_images": pool,
        "generated_images": count,
        "held_out_images": len(held_out),
        "subsets": evidence.params.repeats,
        "noise": "standard error over disjoint subsets",
    }
    unit_name = "median over that of held-out images" if len(held_out) else _UNIT
    figures = {
        "nearest_train_distance": from_repeats(
            [float(np.median(part)) / unit for part in parts],
            [1.0] if len(held_out) else [],
            evidence.protocol("nearest_train_distance", unit=unit_name, **protocol),
        )
    }
    if len(held_out):
        others = distances[count:, 0]
        figures["copying"] = from_repeats(
            [copying(part, others)[0] for part in parts],
            [0.5],
            evidence.protocol("copying", p_value="Mann-Whitney, one-sided", **protocol),
            copying(distances[:count, 0], others)[1],
        )
    rows = min(NEIGHBOURS_SHOWN, count)
    pictures = [shown(evidence.dataset.train.take(row)) for row in found[:rows]]
    return figures, Neighbours(shown(made[:rows]), np.stack(pictures), distances[:rows])


def _subset(evidence: Evidence, number: int, *, held_out: bool) -> Images:
    """Take the number-th real subset [n, C, H, W]; start over where the split is used up."""
    order = evidence.held_out if held_out else evidence.reference
    split = evidence.dataset.validation if held_out else evidence.dataset.train
    size = evidence.transport_size
    chosen = order[(number * size + np.arange(size)) % len(order)]
    return split.take(chosen)


def _blocks(evidence: Evidence, pool: int) -> Iterator[Images]:
    """Yield the first `pool` training images in blocks [b, d]."""
    per_block = max(1, _POOL_BLOCK_BYTES // int(np.prod(evidence.dataset.image_shape)))
    per_block = min(per_block, 4096)
    for number in progress(-(-pool // per_block), "nearest training images"):
        start = number * per_block
        block = evidence.dataset.train.take(np.arange(start, min(start + per_block, pool)))
        yield block.reshape(len(block), -1)

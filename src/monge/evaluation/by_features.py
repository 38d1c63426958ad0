"""Figures seen through a feature extractor: distances, supports, tests, classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monge.evaluation.by_labels import label_figures
from monge.evaluation.catalogue import named
from monge.evaluation.evidence import Evidence, progress
from monge.evaluation.judgement import ClassShares, Figure, from_repeats
from monge.metrics import mmd, neighbourhoods
from monge.metrics.distances import squared_distances
from monge.metrics.divergences import jensen_shannon, kullback_leibler, total_variation
from monge.metrics.features import Extractor
from monge.metrics.frechet import Gaussian, Moments, extrapolated, frechet_distance
from monge.metrics.scores import class_fractions, classifier_score
from monge.metrics.transport import sinkhorn_divergence, sliced_wasserstein1, wasserstein

Images = NDArray[np.uint8]
Floats = NDArray[np.float64]
Points = NDArray[np.float32]
Values = dict[str, float]

MOST_COMPARED = 5000
"""Images a side in what takes all pairs of them."""
MOST_ENTROPIC = 200
MOST_EXTRAPOLATED = 1024
"""Features beyond which three more Fréchet distances a subset would take minutes."""
PERMUTATIONS = 500
FAILURES = 24


@dataclass(frozen=True)
class Seen:
    """Images through the extractor: features [n, d], probabilities [n, classes] or None."""

    features: Points
    probabilities: Floats | None

    def gaussian(self, first: int | None = None) -> Gaussian:
        """Fit all features, or the first ones."""
        points = self.features[:first]
        moments = Moments(points.shape[1])
        for start in range(0, len(points), 4096):
            moments.add(points[start : start + 4096])
        return moments.gaussian()


@dataclass(frozen=True)
class Views:
    """The reference, the held-out subsets that give the floors, and the generated ones."""

    reference: Seen
    floors: Sequence[Seen]
    subsets: Sequence[Seen]

    def real(self, number: int, size: int) -> Points:
        """Take the number-th subset of the reference [size, d], from the start where it ends."""
        points = self.reference.features
        return points[(number * size + np.arange(size)) % len(points)]


def feature_figures(
    evidence: Evidence, look: Extractor
) -> tuple[dict[str, Figure], ClassShares | None, Images]:
    """Every figure of the extractor's, class shares where it knows classes, and the failures.

    The failures are generated images [n, H, W, C] farthest from any real one, the worst first.
    """
    views = _views(evidence, look)
    protocol = {
        "real_images": len(evidence.reference),
        "generated_images": evidence.subset_size * evidence.subsets,
        "subsets": evidence.subsets,
        "images_per_subset": evidence.subset_size,
        "noise": "standard error over disjoint subsets",
        "extractor": look.name,
        "extractor_hash": look.hash,
        "extractor_accuracy": look.accuracy,
        "resizer": look.resizer(evidence.dataset.image_shape),
    }
    figures = _frechet(evidence, views, protocol) | _compared(evidence, views, protocol)
    failures = _failures(evidence, views)
    generated = [seen.probabilities for seen in views.subsets if seen.probabilities is not None]
    real = [seen.probabilities for seen in views.floors if seen.probabilities is not None]
    if not generated:
        return figures, None, failures
    name = named("classifier_score", look.name)
    figures[name] = from_repeats(
        [classifier_score(p) for p in generated],
        [classifier_score(p) for p in real],
        evidence.protocol(name, **protocol),
    )
    if look.accuracy is None:  # its classes are not the dataset's
        return figures, None, failures
    balance, shares = _classes(evidence, generated, real, protocol)
    figures |= label_figures(evidence, generated, real, protocol)
    return figures | balance, shares, failures


def _views(evidence: Evidence, look: Extractor) -> Views:
    train, held_out = evidence.dataset.train, evidence.dataset.validation
    size, batch = evidence.subset_size, evidence.params.batch_size

    def reals(start: int, count: int) -> Images:
        return train.take(evidence.reference[start : start + count])

    def others(start: int, count: int) -> Images:
        return held_out.take(evidence.held_out[start : start + count])

    floors = min(evidence.subsets, len(evidence.held_out) // size)
    made = see(look, evidence.generated, size * evidence.subsets, batch, "generated images")
    return Views(
        see(look, reals, len(evidence.reference), batch, "training images"),
        _cut(see(look, others, size * floors, batch, "held-out images"), size) if floors else [],
        _cut(made, size),
    )


def see(
    look: Extractor, images: Callable[[int, int], Images], count: int, batch: int, what: str
) -> Seen:
    """Pass `count` images, `images(start, how many)`, through the extractor batch by batch.

    Features are kept in float32, as the networks compute them: 50,000 of 64 take 13 MB.
    """
    features, probabilities = [], []
    for number in progress(-(-count // batch), what):
        start = number * batch
        points, classes = look.both(images(start, min(batch, count - start)))
        features.append(points.astype(np.float32))
        if classes is not None:
            probabilities.append(classes)
    return Seen(np.concatenate(features), np.concatenate(probabilities) if probabilities else None)


def _cut(seen: Seen, size: int) -> list[Seen]:
    parts = [slice(start, start + size) for start in range(0, len(seen.features), size)]
    p = seen.probabilities
    return [Seen(seen.features[part], None if p is None else p[part]) for part in parts]


def _frechet(evidence: Evidence, views: Views, protocol: Mapping[str, Any]) -> dict[str, Figure]:
    """Against the whole reference, at the subsets' size and extrapolated from it."""
    reference = views.reference.gaussian()
    size = evidence.subset_size

    def at_infinity(seen: Seen) -> float:
        sizes = sorted({max(size // 4, 2), max(size // 2, 2), size})
        return extrapolated({n: frechet_distance(seen.gaussian(n), reference) for n in sizes})

    def whole(seen: Seen) -> float:
        return frechet_distance(seen.gaussian(), reference)

    figures = {named("frechet", str(protocol["extractor"])): whole}
    if len(reference.mean) <= MOST_EXTRAPOLATED:
        figures["frechet_extrapolated"] = at_infinity
    return {
        name: from_repeats(
            [distance(seen) for seen in views.subsets],
            [distance(seen) for seen in views.floors],
            evidence.protocol(name, **protocol),
        )
        for name, distance in figures.items()
    }


def _compared(evidence: Evidence, views: Views, protocol: Mapping[str, Any]) -> dict[str, Figure]:
    """Each generated subset against as many real images, each held-out one likewise."""
    size = min(evidence.subset_size, len(views.reference.features), MOST_COMPARED)
    square = mmd.median_square(views.reference.features)
    comparison = Comparison(
        square, evidence.transport_size, evidence.params.projections, evidence.params.seed
    )
    values, floors = [], []
    for number in progress(len(views.subsets), "comparing features"):
        made = views.subsets[number].features[:size]
        values.append(comparison.figures(made, views.real(number, size), number))
    for number, seen in enumerate(views.floors):
        floors.append(comparison.figures(seen.features[:size], views.real(number, size), number))
    tested = min(size, 1000)
    p_value = mmd.permutation_p_value(
        views.subsets[0].features[:tested], views.real(0, tested), mmd.rbf(square), PERMUTATIONS,
        evidence.params.seed,
    )  # fmt: skip
    particulars = comparison.particulars(size)
    names = {figure: named(figure, str(protocol["extractor"])) for figure in values[0]}
    return {
        name: from_repeats(
            [found[figure] for found in values],
            [found[figure] for found in floors],
            evidence.protocol(name, **{**protocol, **particulars.get(figure, {})}),
            p_value if figure == "mmd_rbf" else None,
        )
        for figure, name in names.items()
    }


@dataclass(frozen=True)
class Comparison:
    """What is asked of two sets of features: kernel width, and how many points the slow parts take.

    `square` is the squared distance that the kernels' widths come from.
    """

    square: float
    transport_size: int
    projections: int
    seed: int

    def figures(self, made: Points, real: Points, number: int = 0) -> Values:
        """All figures of two sets [n, d] and [m, d]; `number` chooses other directions."""
        size = min(len(made), len(real))
        few = min(self.transport_size, size)
        k = min(neighbourhoods.K, size - 1)
        support = neighbourhoods.overlap(made, real, k)
        projected = sliced_wasserstein1(made, real, self.projections, self.seed + number)
        imq = mmd.inverse_multiquadratic(self.square)
        some = slice(min(MOST_ENTROPIC, few))
        return {
            "kernel_distance": mmd.mmd_squared(made, real, mmd.cubic),
            "mmd_rbf": mmd.mmd_squared(made, real, mmd.rbf(self.square)),
            "mmd_imq": mmd.mmd_squared(made, real, imq),
            "energy_distance": mmd.mmd_squared(made, real, mmd.negative_distance),
            "wasserstein1_features": wasserstein(made[:few], real[:few], 1)[0],
            "wasserstein2_features": wasserstein(made[:few], real[:few], 2)[0],
            "sliced_wasserstein_features": projected,
            "sinkhorn_features": sinkhorn_divergence(made[some], real[some]),
            "precision": support.precision,
            "recall": support.recall,
            "density": support.density,
            "coverage": support.coverage,
            "diversity": neighbourhoods.diversity(made),
            "two_sample_accuracy": neighbourhoods.two_sample_accuracy(made[:size], real[:size]),
        }

    def particulars(self, size: int) -> dict[str, dict[str, Any]]:
        """What the protocols of some figures say beyond the others'."""
        balls = {"neighbours": min(neighbourhoods.K, size - 1), "compared_images": size}
        exact = {"compared_images": min(self.transport_size, size)}
        kernel = {"compared_images": size, "kernel_square": self.square}
        entropic = min(MOST_ENTROPIC, self.transport_size, size)
        return {
            "kernel_distance": {"compared_images": size},
            "mmd_rbf": {**kernel, "p_value": f"{PERMUTATIONS} permutations, first subset"},
            "mmd_imq": kernel,
            "energy_distance": {"compared_images": size},
            "wasserstein1_features": exact,
            "wasserstein2_features": exact,
            "sliced_wasserstein_features": {
                "compared_images": size, "projections": self.projections,
            },
            "sinkhorn_features": {"compared_images": entropic, "blur": 0.05},
            "diversity": {"compared_images": size},
            "two_sample_accuracy": {"compared_images": size},
            **dict.fromkeys(("precision", "recall", "density", "coverage"), balls),
        }  # fmt: skip


def _failures(evidence: Evidence, views: Views) -> Images:
    """Of the first subset the images whose features are farthest from any real one's.

    The distance to the nearest neighbour estimates the density there: these have the lowest.
    """
    made = views.subsets[0].features[:MOST_COMPARED]
    real = views.reference.features[:MOST_COMPARED]
    parts = [made[start : start + 512] for start in range(0, len(made), 512)]
    squares = np.concatenate([squared_distances(part, real).min(axis=1) for part in parts])
    worst = np.argsort(-squares, kind="stable")[:FAILURES]
    return np.concatenate([evidence.generated(int(i), 1) for i in worst]).transpose(0, 2, 3, 1)


def _classes(
    evidence: Evidence,
    generated: Sequence[Floats],
    real: Sequence[Floats],
    protocol: Mapping[str, Any],
) -> tuple[dict[str, Figure], ClassShares]:
    """Shares of the classes as the classifier calls them, against the training labels'."""
    labels = evidence.dataset.train.labels
    assert labels is not None
    classes = generated[0].shape[1]
    wanted = class_fractions(labels, classes)
    shares, real_shares = (
        [class_fractions(p.argmax(axis=1), classes) for p in parts] for parts in (generated, real)
    )
    mean = np.mean(shares, axis=0)
    rarest, commonest = int(mean.argmin()), int(mean.argmax())
    real_mean = np.mean(real_shares, axis=0) if real_shares else None

    def figure(
        name: str, of: Callable[[Floats], float], floors: Sequence[float] | None = None
    ) -> Figure:
        found = [of(share) for share in real_shares] if floors is None else floors
        return from_repeats(
            [of(share) for share in shares], found, evidence.protocol(name, **protocol)
        )

    figures = {
        "class_balance": figure("class_balance", lambda share: total_variation(share, wanted)),
        "class_js": figure("class_js", lambda share: jensen_shannon(share, wanted)),
        "class_fraction_min": figure(
            "class_fraction_min", lambda share: float(share[rarest]),
            [] if real_mean is None else [float(real_mean.min())],
        ),
        "class_fraction_max": figure(
            "class_fraction_max", lambda share: float(share[commonest]),
            [] if real_mean is None else [float(real_mean.max())],
        ),
    }  # fmt: skip
    if wanted.all():  # else it is infinite as soon as one image is called by a class without any
        figures["class_kl"] = figure("class_kl", lambda share: kullback_leibler(share, wanted))
    names = evidence.dataset.class_names[:classes]
    return figures, ClassShares(names, mean, wanted)

"""Figures seen through a feature extractor: distances, supports, tests, classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monge.evaluation.baselines import Baselines
from monge.evaluation.by_labels import label_figures
from monge.evaluation.catalogue import named
from monge.evaluation.comparison import (
    MOST_COMPARED,
    MOST_EXTRAPOLATED,
    PERMUTATIONS,
    Comparison,
    Seen,
    see,
)
from monge.evaluation.evidence import Evidence, progress
from monge.evaluation.judgement import ClassShares, Figure, from_repeats
from monge.metrics import mmd
from monge.metrics.distances import squared_distances
from monge.metrics.divergences import jensen_shannon, kullback_leibler, total_variation
from monge.metrics.features import Extractor
from monge.metrics.frechet import Gaussian, extrapolated, frechet_distance
from monge.metrics.scores import class_fractions, classifier_score

Images = NDArray[np.uint8]
Floats = NDArray[np.float64]
Points = NDArray[np.float32]

FAILURES = 24


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
    comparison = Comparison(
        mmd.median_square(views.reference.features),
        evidence.transport_size,
        evidence.params.projections,
        evidence.params.seed,
    )
    gaussian = views.reference.gaussian()
    figures = _frechet(evidence, views, gaussian, protocol)
    figures |= _compared(evidence, views, comparison, protocol)
    for name, values in _baselines(evidence, look, views, gaussian, comparison).items():
        figures[name] = replace(figures[name], baselines=values)
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


def _cut(seen: Seen, size: int) -> list[Seen]:
    parts = [slice(start, start + size) for start in range(0, len(seen.features), size)]
    p = seen.probabilities
    return [Seen(seen.features[part], None if p is None else p[part]) for part in parts]


def _frechet(
    evidence: Evidence, views: Views, reference: Gaussian, protocol: Mapping[str, Any]
) -> dict[str, Figure]:
    """Against the whole reference, at the subsets' size and extrapolated from it."""
    look, size = str(protocol["extractor"]), evidence.subset_size
    values = [_frechet_values(seen, reference, size, look) for seen in views.subsets]
    floors = [_frechet_values(seen, reference, size, look) for seen in views.floors]
    return {
        name: from_repeats(
            [found[name] for found in values],
            [found[name] for found in floors],
            evidence.protocol(name, **protocol),
        )
        for name in values[0]
    }


def _frechet_values(seen: Seen, reference: Gaussian, size: int, look: str) -> dict[str, float]:
    """Both Fréchet distances of one subset of this size."""
    values = {named("frechet", look): frechet_distance(seen.gaussian(), reference)}
    if len(reference.mean) <= MOST_EXTRAPOLATED:
        sizes = sorted({max(size // 4, 2), max(size // 2, 2), size})
        values["frechet_extrapolated"] = extrapolated(
            {n: frechet_distance(seen.gaussian(n), reference) for n in sizes}
        )
    return values


def _baselines(
    evidence: Evidence, look: Extractor, views: Views, reference: Gaussian, comparison: Comparison
) -> dict[str, dict[str, float]]:
    """Every distance between features of each baseline: one subset of the generated ones' size."""
    found: dict[str, dict[str, float]] = {}
    size, batch = evidence.subset_size, evidence.params.batch_size
    for baseline, images in Baselines(evidence).samples.items():
        seen = see(look, images, size, batch, baseline.replace("_", " "))
        few = min(size, len(views.reference.features), MOST_COMPARED)
        values = _frechet_values(seen, reference, size, look.name)
        for figure, value in comparison.distances(seen.features[:few], views.real(0, few)).items():
            values[named(figure, look.name)] = value
        for figure, value in values.items():
            found.setdefault(figure, {})[baseline] = value
    return found


def _compared(
    evidence: Evidence, views: Views, comparison: Comparison, protocol: Mapping[str, Any]
) -> dict[str, Figure]:
    """Each generated subset against as many real images, each held-out one likewise."""
    size = min(evidence.subset_size, len(views.reference.features), MOST_COMPARED)
    values, floors = [], []
    for number in progress(len(views.subsets), "comparing features"):
        made = views.subsets[number].features[:size]
        values.append(comparison.figures(made, views.real(number, size), number))
    for number, seen in enumerate(views.floors):
        floors.append(comparison.figures(seen.features[:size], views.real(number, size), number))
    tested = min(size, 1000)
    p_value = mmd.permutation_p_value(
        views.subsets[0].features[:tested], views.real(0, tested), mmd.rbf(comparison.square),
        PERMUTATIONS, evidence.params.seed,
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


def _failures(evidence: Evidence, views: Views) -> Images:
    """Pick those of the first subset whose features are farthest from any real image's.

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

"""Figures seen through a feature extractor: Fréchet distance, classifier score, class balance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monge.evaluation.evidence import Evidence, progress
from monge.evaluation.judgement import ClassShares, Figure, from_repeats
from monge.metrics.features import Extractor, resizer
from monge.metrics.frechet import Gaussian, Moments, frechet_distance
from monge.metrics.scores import class_fractions, classifier_score, total_variation

Images = NDArray[np.uint8]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """One subset through the extractor: fitted Gaussian, probabilities [n, classes] or None."""

    gaussian: Gaussian
    probabilities: Floats | None


def feature_figures(
    evidence: Evidence, look: Extractor
) -> tuple[dict[str, Figure], ClassShares | None]:
    """`frechet`, and where the extractor knows classes the figures made of its probabilities."""
    reference, floors, subsets = _views(evidence, look)
    size = evidence.subset_size
    protocol = {
        "real_images": len(evidence.reference),
        "generated_images": size * evidence.subsets,
        "subsets": evidence.subsets,
        "images_per_subset": size,
        "noise": "standard error over disjoint subsets",
        "extractor": look.name,
        "extractor_hash": look.hash,
        "extractor_accuracy": look.accuracy,
        "resizer": resizer(evidence.dataset.image_shape),
    }
    figures = {
        "frechet": from_repeats(
            [frechet_distance(seen.gaussian, reference.gaussian) for seen in subsets],
            [frechet_distance(seen.gaussian, reference.gaussian) for seen in floors],
            "lower",
            evidence.protocol("frechet", **protocol),
        )
    }
    generated = [seen.probabilities for seen in subsets if seen.probabilities is not None]
    real = [seen.probabilities for seen in floors if seen.probabilities is not None]
    if not generated:
        return figures, None
    figures["classifier_score"] = from_repeats(
        [classifier_score(p) for p in generated],
        [classifier_score(p) for p in real],
        "higher",
        evidence.protocol("classifier_score", **protocol),
    )
    balance, shares = _balance(evidence, generated, real, protocol)
    return figures | balance, shares


def _views(evidence: Evidence, look: Extractor) -> tuple[Seen, list[Seen], list[Seen]]:
    """See the reference, the held-out subsets that give the floors, and the generated ones."""
    train, held_out = evidence.dataset.train, evidence.dataset.validation
    size = evidence.subset_size
    batch = evidence.params.batch_size
    reference = _see(
        look,
        lambda start, count: train.take(evidence.reference[start : start + count]),
        len(evidence.reference),
        batch,
        "training images",
    )
    floors = [
        _see(
            look,
            lambda start, count, k=k: held_out.take(  # type: ignore[misc]
                evidence.held_out[k * size + start : k * size + start + count]
            ),
            size,
            batch,
            "held-out images",
        )
        for k in range(min(evidence.subsets, len(evidence.held_out) // size))
    ]
    subsets = [
        _see(
            look,
            lambda start, count, k=k: evidence.generated(k * size + start, count),  # type: ignore[misc]
            size,
            batch,
            "generated images",
        )
        for k in range(evidence.subsets)
    ]
    return reference, floors, subsets


def _see(
    look: Extractor,
    images: Callable[[int, int], Images],
    count: int,
    batch: int,
    what: str,
) -> Seen:
    """Pass `count` images, `images(start, how many)`, through the extractor batch by batch."""
    moments: Moments | None = None
    probabilities = []
    for number in progress(-(-count // batch), what):
        start = number * batch
        features, classes = look.both(images(start, min(batch, count - start)))
        moments = (moments or Moments(features.shape[1])).add(features)
        if classes is not None:
            probabilities.append(classes)
    assert moments is not None
    return Seen(moments.gaussian(), np.concatenate(probabilities) if probabilities else None)


def _balance(
    evidence: Evidence,
    generated: Sequence[Floats],
    real: Sequence[Floats],
    protocol: dict[str, object],
) -> tuple[dict[str, Figure], ClassShares]:
    """Shares of the classes as the classifier calls them, against the training labels'."""
    labels = evidence.dataset.train.labels
    assert labels is not None
    classes = generated[0].shape[1]
    wanted = class_fractions(labels, classes)
    shares = np.stack([class_fractions(p.argmax(axis=1), classes) for p in generated])
    real_shares = [class_fractions(p.argmax(axis=1), classes) for p in real]
    mean = shares.mean(axis=0)
    rarest, commonest = int(mean.argmin()), int(mean.argmax())
    real_mean = np.mean(real_shares, axis=0) if real_shares else None
    figures = {
        "class_balance": from_repeats(
            [total_variation(share, wanted) for share in shares],
            [total_variation(share, wanted) for share in real_shares],
            "lower",
            evidence.protocol("class_balance", unit="total variation", **protocol),
        ),
        "class_fraction_min": from_repeats(
            [float(share[rarest]) for share in shares],
            [] if real_mean is None else [float(real_mean.min())],
            "higher",
            evidence.protocol("class_fraction_min", **protocol),
        ),
        "class_fraction_max": from_repeats(
            [float(share[commonest]) for share in shares],
            [] if real_mean is None else [float(real_mean.max())],
            "lower",
            evidence.protocol("class_fraction_max", **protocol),
        ),
    }
    names = evidence.dataset.class_names[:classes]
    return figures, ClassShares(names, mean, wanted)

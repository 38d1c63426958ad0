"""The feature extractor that goes with a dataset."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monge.errors import InputError
from monge.metrics.features import Extractor, Features, ImageSet, pixel_extractor, random_extractor

MIN_IMAGES_PER_CLASS = 20
log = logging.getLogger(__name__)


def extractor(
    wanted: Features,
    train: ImageSet,
    held_out: ImageSet,
    *,
    dataset_hash: str,
    cache: Path,
) -> Extractor:
    """Choose the extractor for a dataset; `auto` takes the classifier where the labels carry one.

    Elsewhere it takes the network that comes with the package.

    Raises what `inception` raises, InputError when the classifier is asked for and the dataset has
    fewer than two classes, or StorageError when the trained classifier cannot be kept in `cache`.
    """
    from monge.metrics.classifier import load_or_train
    from monge.metrics.inception import inception
    from monge.metrics.pretrained import pretrained_extractor

    if wanted == "inception":
        return inception(cache)
    if wanted == "pixels":
        return pixel_extractor()
    problem = _unfit_for_classifier(train.labels)
    if wanted == "random":
        return random_extractor(train.take(np.array([0])).shape[1])
    if wanted == "pretrained" or (wanted == "auto" and problem):
        if wanted == "auto":
            log.info("features come from the network that comes with monge, because %s", problem)
        return pretrained_extractor()
    if train.labels is None or train.labels.min() == train.labels.max():
        raise InputError(
            f"evaluate.features: classifier cannot be used, because {problem}. "
            "Use auto or pretrained."
        )
    return load_or_train(train, held_out, dataset_hash=dataset_hash, cache=cache)


def _unfit_for_classifier(labels: NDArray[np.int64] | None) -> str | None:
    """Why no classifier should be trained on these labels, if so."""
    if labels is None:
        return "the dataset has no classes"
    counts = np.bincount(labels)
    if np.count_nonzero(counts) < 2:
        return "the dataset has a single class"
    if counts.min() < MIN_IMAGES_PER_CLASS:
        return f"its smallest class has {counts.min()} of the {MIN_IMAGES_PER_CLASS} images needed"
    return None

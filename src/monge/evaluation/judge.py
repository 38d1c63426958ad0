"""Judge a sampler against a dataset: every figure with its noise, its floor and its protocol."""

from __future__ import annotations

from pathlib import Path

from monge.data.packed import PackedDataset
from monge.errors import InputError
from monge.evaluation.by_encoder import Way, returned
from monge.evaluation.by_features import feature_figures
from monge.evaluation.by_pixels import neighbours, pixel_figures
from monge.evaluation.catalogue import CATALOGUE
from monge.evaluation.evidence import Asked, Evidence, Sample, shown
from monge.evaluation.judgement import Figure, Judgement
from monge.metrics.extractors import extractor
from monge.params import EvaluateParams

__all__ = ["Figure", "Judgement", "judge"]

GRID_IMAGES = 64


def judge(
    sample: Sample,
    dataset: PackedDataset,
    params: EvaluateParams,
    cache: Path,
    *,
    generator_hash: str,
    labels: Asked | None = None,
    way: Way | None = None,
) -> Judgement:
    """All figures for `sample` ((first, count) -> uint8 [count, H, W, C]) on a packed dataset.

    `labels` ((first, count) -> int64 [count]) are what a conditional generator was asked for, `way`
    is that of an encoder and back.

    The reference is the training images; a figure is the mean over disjoint subsets of generated
    images, its noise their standard error, its floor the same for held-out images in their place.
    A feature classifier that must be trained is kept in `cache`. Raises InputError when the
    parameters do not fit the dataset, ModelFileError when the images do not, StorageError.
    """
    if params.images < 10 * params.repeats:
        raise InputError(
            f"evaluate.images: must be at least 10 times evaluate.repeats, got {params.images} "
            f"for {params.repeats} repeats. Raise the one or lower the other."
        )
    evidence = Evidence(sample, dataset, params, generator_hash, labels)
    dataset = evidence.dataset
    look = extractor(
        params.features,
        dataset.train,
        dataset.validation,
        dataset_hash=dataset.content_hash,
        cache=cache,
    )
    by_features, classes, failures = feature_figures(evidence, look)
    copies, nearest = neighbours(evidence)
    figures = by_features | copies | pixel_figures(evidence)
    back = None
    if way is not None:
        of_way, back = returned(evidence, way)
        figures |= of_way
    return Judgement(
        figures={name: figures[name] for name in CATALOGUE if name in figures},
        samples=shown(evidence.generated(0, min(GRID_IMAGES, params.images))),
        reals=shown(dataset.train.take(evidence.reference[:GRID_IMAGES])),
        neighbours=nearest,
        failures=failures,
        classes=classes,
        returned=back,
    )

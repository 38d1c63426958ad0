"""Tests whether a conditional generator draws what it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monge.evaluation.evidence import Evidence
from monge.evaluation.judgement import Figure, from_repeats

Floats = NDArray[np.float64]

NAME = "label_accuracy"
NAMES = (NAME,)


def label_figures(
    evidence: Evidence,
    generated: Sequence[Floats],
    real: Sequence[Floats],
    protocol: Mapping[str, Any],
) -> dict[str, Figure]:
    """Count how often the classifier sees the label that was asked for; empty without labels.

    `generated` and `real` are its probabilities [n, classes] of the subsets of both. The floor is
    how often it sees the label of a held-out image. Shmelkov et al. 2018 call it GAN-test; with
    `coverage` low it is high for classes that are drawn one way only.
    """
    if evidence.labels is None:
        return {}
    size = evidence.subset_size
    asked = evidence.labels(0, size * len(generated)).reshape(-1, size)
    held_out = evidence.dataset.validation.labels
    assert held_out is not None
    known = held_out[evidence.held_out[: size * len(real)]].reshape(-1, size)
    figure = from_repeats(
        [_share(p, wanted) for p, wanted in zip(generated, asked, strict=True)],
        [_share(p, wanted) for p, wanted in zip(real, known, strict=True)],
        evidence.protocol(NAME, **protocol),
    )
    return {NAME: figure}


def _share(probabilities: Floats, labels: NDArray[np.int64]) -> float:
    return float((probabilities.argmax(axis=1) == labels).mean())

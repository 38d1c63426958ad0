"""Two sets of images through a feature extractor, and the distances between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monge.evaluation.evidence import progress
from monge.metrics import mmd, neighbourhoods
from monge.metrics.features import Extractor
from monge.metrics.frechet import Gaussian, Moments
from monge.metrics.transport import sinkhorn_divergence, sliced_wasserstein1, wasserstein

Images = NDArray[np.uint8]
Floats = NDArray[np.float64]
Points = NDArray[np.float32]
Values = dict[str, float]

MOST_COMPARED = 5000
"""Images a side in what takes all pairs of them."""
MOST_ENTROPIC = 200
"""Points a side in a Sinkhorn divergence, of pixels too: the iterations take each pair often."""
MOST_EXTRAPOLATED = 1024
"""Features beyond which three more Fréchet distances a subset would take minutes."""
PERMUTATIONS = 500


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


@dataclass(frozen=True)
class Comparison:
    """The terms of comparing two sets of features: kernel width, and points for the slow parts.

    `square` is the squared distance that the kernels' widths come from.
    """

    square: float
    transport_size: int
    projections: int
    seed: int

    def figures(self, made: Points, real: Points, number: int = 0) -> Values:
        """All figures of two sets [n, d] and [m, d]; `number` chooses other directions."""
        size = min(len(made), len(real))
        support = neighbourhoods.overlap(made, real, min(neighbourhoods.K, size - 1))
        return {
            **self.distances(made, real, number),
            "precision": support.precision,
            "recall": support.recall,
            "density": support.density,
            "coverage": support.coverage,
            "diversity": neighbourhoods.diversity(made),
            "two_sample_accuracy": neighbourhoods.two_sample_accuracy(made[:size], real[:size]),
        }

    def distances(self, made: Points, real: Points, number: int = 0) -> Values:
        """Those of them that are distances: lower is nearer, whatever the images are."""
        few = min(self.transport_size, len(made), len(real))
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
        }

    def particulars(self, size: int) -> dict[str, dict[str, Any]]:
        """List what the protocols of some figures say beyond the others'."""
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

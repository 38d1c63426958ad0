"""Every figure of a judgement: what it asks, which way is better, where it comes from.

The order is that of the tables and of the report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from monge.metrics.sharpness import least_sharpness, sharpness

Images = NDArray[np.uint8]

Better = Literal["lower", "higher", "neither"]
"""`neither` marks a figure that must not be optimised, and that no gate takes."""


@dataclass(frozen=True)
class Entry:
    """A figure's place among the others, its direction, and its meaning in a line."""

    group: str
    better: Better
    meaning: str
    of_images: Callable[[Images, Images], float] | None = None
    """The function of generated and of real images, both uint8 [n, C, H, W]; None where it
    comes from by_features, by_pixels or by_labels."""


_DISTANCES = "Distances between features"
_SUPPORT = "Fidelity and variety"
_COPIES = "Copies of training images"
_CLASSES = "Classes"
_PIXELS = "Distances between pixels"
_RETURN = "Images that come back"

CATALOGUE: dict[str, Entry] = {
    "frechet": Entry(
        _DISTANCES, "lower", "Fréchet distance of Gaussians fitted to features (squared W2)"
    ),
    "frechet_extrapolated": Entry(
        _DISTANCES, "lower", "the same at infinitely many generated images, by a line in 1/n"
    ),
    "kernel_distance": Entry(_DISTANCES, "lower", "MMD² of features, cubic kernel, unbiased"),
    "fid": Entry(_DISTANCES, "lower", "frechet, on the features of Inception"),
    "kid": Entry(_DISTANCES, "lower", "kernel_distance, on the features of Inception"),
    "mmd_rbf": Entry(
        _DISTANCES, "lower", "MMD² of features, Gaussian kernel at the real images' median distance"
    ),
    "mmd_imq": Entry(
        _DISTANCES, "lower", "MMD² of features, inverse multiquadratic kernel at seven scales"
    ),
    "energy_distance": Entry(
        _DISTANCES, "lower", "energy distance of features: MMD² whose kernel is minus the distance"
    ),
    "wasserstein1_features": Entry(_DISTANCES, "lower", "exact Wasserstein-1 between features"),
    "wasserstein2_features": Entry(_DISTANCES, "lower", "exact Wasserstein-2 between features"),
    "sliced_wasserstein_features": Entry(
        _DISTANCES, "lower", "Wasserstein-1 of features, averaged over random directions"
    ),
    "sinkhorn_features": Entry(
        _DISTANCES, "lower", "Sinkhorn divergence of features: entropic transport without its bias"
    ),
    "precision": Entry(
        _SUPPORT, "higher", "share of generated images within the balls of real ones"
    ),
    "recall": Entry(_SUPPORT, "higher", "share of real images within the balls of generated ones"),
    "density": Entry(_SUPPORT, "higher", "real balls that hold a generated image, over k"),
    "coverage": Entry(_SUPPORT, "higher", "share of real balls that hold a generated image"),
    "diversity": Entry(
        _SUPPORT, "neither", "mean distance between generated images' features; as real is best"
    ),
    "sharpness": Entry(
        _SUPPORT,
        "neither",
        "variance of the Laplacian; below real is blur, above it is noise",
        lambda made, _: sharpness(made),
    ),
    "sharpness_minimum": Entry(
        _SUPPORT,
        "neither",
        "the same of the least sharp image, as the code of Tolstikhin et al. has it",
        lambda made, _: least_sharpness(made),
    ),
    "two_sample_accuracy": Entry(
        _SUPPORT, "neither", "how often the nearest image is of the same set: 0.5 is best, 1 apart"
    ),
    "nearest_train_distance": Entry(
        _COPIES, "neither", "distance to the nearest training image, over held-out images' own"
    ),
    "copying": Entry(
        _COPIES,
        "neither",
        "how often a generated image is nearer to the training images than a held-out one: 0.5 is "
        "fair, 1 copies",
    ),
    "classifier_score": Entry(
        _CLASSES, "higher", "the Inception score's formula on this dataset's classifier"
    ),
    "inception_score": Entry(_CLASSES, "higher", "the same on Inception's 1008 classes"),
    "label_accuracy": Entry(
        _CLASSES, "higher", "how often a conditional generator's image is of the class asked for"
    ),
    "class_balance": Entry(
        _CLASSES, "lower", "total variation between classes generated and classes of the data"
    ),
    "class_kl": Entry(_CLASSES, "lower", "Kullback-Leibler divergence of the same, in nats"),
    "class_js": Entry(_CLASSES, "lower", "Jensen-Shannon divergence of the same, in nats"),
    "class_fraction_min": Entry(_CLASSES, "higher", "share of the rarest class"),
    "class_fraction_max": Entry(_CLASSES, "lower", "share of the commonest class"),
    "wasserstein1_pixels": Entry(
        _PIXELS, "lower", "exact Wasserstein-1 between images; rewards blur at few images"
    ),
    "wasserstein1_mean_image": Entry(
        _PIXELS, "neither", "the same if every image were the mean training image: a warning"
    ),
    "wasserstein2_pixels": Entry(_PIXELS, "lower", "exact Wasserstein-2 between images"),
    "duality_gap": Entry(
        _PIXELS, "neither", "what is unproved of the exact distances: cost less dual, as a share"
    ),
    "sinkhorn_pixels": Entry(_PIXELS, "lower", "Sinkhorn divergence between images"),
    "frechet_pyramid": Entry(
        _PIXELS,
        "lower",
        "Fréchet distances of an image pyramid's levels, as shares of the real images' variance",
    ),
    "sliced_wasserstein": Entry(
        _PIXELS, "lower", "Wasserstein-1 of images, averaged over random directions"
    ),
    "sliced_wasserstein_octave16": Entry(
        _PIXELS, "lower", "sliced Wasserstein-1 of the detail that 16 pixels a side add to 8"
    ),
    "sliced_wasserstein_octave32": Entry(
        _PIXELS, "lower", "sliced Wasserstein-1 of the detail that 32 pixels a side add to 16"
    ),
    "sliced_wasserstein_octave64": Entry(
        _PIXELS, "lower", "sliced Wasserstein-1 of the detail that 64 pixels a side add to 32"
    ),
    "levels_tv": Entry(_PIXELS, "lower", "total variation between the histograms of grey levels"),
    "levels_js": Entry(_PIXELS, "lower", "Jensen-Shannon divergence of the same, in nats"),
    "reconstruction_error": Entry(
        _RETURN, "lower", "squared distance of a held-out image to its reconstruction"
    ),
    "reconstruction_share": Entry(
        _RETURN, "lower", "the same, by that of the mean training image in its place"
    ),
}

_REFERENCE = {"frechet": "fid", "kernel_distance": "kid", "classifier_score": "inception_score"}


def of_images() -> Iterator[tuple[str, Callable[[Images, Images], float]]]:
    """Yield the name and the function of each figure that is one of two sets of images."""
    for name, entry in CATALOGUE.items():
        if entry.of_images is not None:
            yield name, entry.of_images


def named(figure: str, extractor: str) -> str:
    """A figure's name by the features it is made of: only Inception's bear the literature's."""
    return _REFERENCE.get(figure, figure) if extractor == "inception" else figure

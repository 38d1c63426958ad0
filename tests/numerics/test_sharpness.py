"""Sharpness against SciPy's Laplacian; blur lowers it and noise raises it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, laplace

from monge.metrics.sharpness import sharpness


def test_is_the_variance_of_scipys_laplacian_inside_the_border() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 9, 12), dtype=np.uint8)
    grey = images.mean(axis=1)
    reference = [laplace(picture)[1:-1, 1:-1].var() for picture in grey]
    assert sharpness(images) == pytest.approx(np.mean(reference), rel=1e-12)


def test_falls_with_blur_and_rises_with_noise() -> None:
    generator = np.random.default_rng(1)
    smooth = gaussian_filter(generator.random((8, 1, 32, 32)), (0, 0, 1, 1))
    picture = ((smooth - smooth.min()) / (smooth.max() - smooth.min()) * 255).astype(np.uint8)
    values = [
        sharpness(gaussian_filter(picture, (0, 0, sigma, sigma))) for sigma in (2.0, 1.0, 0.5)
    ]
    noisy = np.clip(picture + generator.normal(0, 20, picture.shape), 0, 255).astype(np.uint8)
    assert values == sorted(values)
    assert values[-1] < sharpness(picture) < sharpness(noisy)


def test_a_plain_picture_has_none_and_a_tiny_one_no_laplacian() -> None:
    assert sharpness(np.full((2, 1, 8, 8), 200, np.uint8)) == 0.0
    with pytest.raises(ValueError, match="no Laplacian"):
        sharpness(np.zeros((1, 1, 2, 8), np.uint8))

"""Sharpness: how much fine detail pictures have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def sharpness(images: NDArray[np.uint8]) -> float:
    """Mean over images of the variance of the discrete Laplacian; uint8 [n, C, H, W], 0..255.

    4 x − its four neighbours, on pixels that have all four, of the channels' mean (Tolstikhin et
    al. 2018, section 5, compare blurry auto-encoders by it). Noise raises it like detail does: it
    says whether pictures are as sharp as real ones, not whether they are good.
    """
    return float(_each(images).mean())


def least_sharpness(images: NDArray[np.uint8]) -> float:
    """The least of the images' variances: what the code of the paper takes in the mean's place."""
    return float(_each(images).min())


def _each(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    grey = images.mean(axis=1, dtype=np.float64)
    if min(grey.shape[1:]) < 3:
        raise ValueError(f"pictures of {grey.shape[1]}×{grey.shape[2]} pixels have no Laplacian")
    laplacian = (
        4.0 * grey[:, 1:-1, 1:-1]
        - grey[:, :-2, 1:-1]
        - grey[:, 2:, 1:-1]
        - grey[:, 1:-1, :-2]
        - grey[:, 1:-1, 2:]
    )
    variances: NDArray[np.float64] = laplacian.reshape(len(images), -1).var(axis=1)
    return variances

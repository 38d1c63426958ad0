"""Brightness: how far the mean levels of two sets of images are apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def brightness_gap(made: NDArray[np.uint8], real: NDArray[np.uint8]) -> float:
    """|difference of the mean levels| of two sets uint8 [n, C, H, W], where white is 1."""
    return float(abs(made.mean() - real.mean()) / 255.0)

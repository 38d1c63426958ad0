"""Pictures fitted as a generator's training images were: what its encoder takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monge import sizes
from monge.data.decode import COLOUR_OF, Recipe


def recipe(
    image_shape: tuple[int, int, int], preparation: Mapping[str, Any], max_pixels: int
) -> Recipe:
    """Find the way from a picture to uint8 of `image_shape` (H, W, C) in an encoder's contract.

    What the contract leaves out is as in `prepare`'s defaults; `max_pixels` are of one picture.
    """
    height, width, channels = image_shape
    how: dict[str, Any] = {
        "colour": COLOUR_OF[channels], "fit": "crop", "background": "#000000",
        "levels": "full",
    }  # fmt: skip
    how |= {name: value for name, value in preparation.items() if name in how}
    return Recipe(sizes.written(width, height), max_pixels=max_pixels, **how)

"""Many small images as one picture that a person can look at. numpy only."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from monge import alpha

TILE_PX = 40
"""Images smaller than this are enlarged, by a whole factor, to at least so many pixels a side."""


def tile(
    images: NDArray[np.uint8], columns: int | None = None, scale: int | None = None
) -> NDArray[np.uint8]:
    """Lay images [n, H, W, C] out in rows: uint8 [H', W', C], a grey gap between them.

    Small images are enlarged without smoothing, so that every pixel of an 8x8 digit shows. Those
    with a channel of opacity are laid on light and dark squares, in three channels.
    """
    if images.shape[-1] == alpha.CHANNELS:
        return _on_checkers(images, columns, scale)
    n, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    scale = scale or _scale(height, width)
    gap = max(1, scale // 2)
    tall, wide = height * scale, width * scale
    shape = (rows * (tall + gap) - gap, columns * (wide + gap) - gap, channels)
    picture = np.full(shape, 90, np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * (tall + gap), i % columns * (wide + gap)
        enlarged = image.repeat(scale, axis=0).repeat(scale, axis=1)
        picture[top : top + tall, left : left + wide] = enlarged
    return picture


def paired(images: NDArray[np.uint8], others: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Two sets uint8 [n, H, W, C] in the order of a grid: a row of the first, then the second's.

    The last rows are filled up with black.
    """
    rows = -(-len(images) // columns)
    whole = np.zeros((rows, 2, columns, *images.shape[1:]), np.uint8)
    for index in range(len(images)):
        row, column = divmod(index, columns)
        whole[row, 0, column], whole[row, 1, column] = images[index], others[index]
    return whole.reshape(-1, *images.shape[1:])


def _on_checkers(
    images: NDArray[np.uint8], columns: int | None, scale: int | None
) -> NDArray[np.uint8]:
    """Enlarged first, so that the squares are of one size whatever the images'."""
    scale = scale or _scale(*images.shape[1:3])
    large = images.repeat(scale, axis=1).repeat(scale, axis=2)
    return tile(np.stack([alpha.on_checkers(image) for image in large]), columns, 1)


def _scale(height: int, width: int) -> int:
    return max(1, math.ceil(TILE_PX / max(height, width)))

"""Images with a channel of opacity: what colour a transparent pixel has, and how they are seen.

A packed image, and one that a generator draws, is straight: red, green, blue, opacity, as PNG and
WebP have it; a pixel that cannot be seen is black, so that there is no colour to learn from. What
is measured is premultiplied, each colour times the opacity: then pixels that look alike are alike.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]

CHANNELS = 4
COLOURS = {1: "grey", 3: "colour", 4: "colour and opacity"}
"""The words for images of so many channels in a sentence."""

CHECKER_PX = 8
_LIGHT, _DARK = 255, 204


def premultiplied(images: Images) -> Images:
    """Straight uint8 [n, 4, H, W] with colours times opacity; other images as they are."""
    if images.shape[1] != CHANNELS:
        return images
    whole = images.astype(np.uint32)
    colours = (whole[:, :3] * whole[:, 3:] + 127) // 255
    return np.concatenate([colours.astype(np.uint8), images[:, 3:]], axis=1)


def straight(images: Images) -> Images:
    """The way back, to within what few levels of opacity leave of a colour."""
    if images.shape[1] != CHANNELS:
        return images
    whole, opacity = images.astype(np.uint32), np.maximum(images[:, 3:], 1).astype(np.uint32)
    colours = np.minimum((whole[:, :3] * 255 + opacity // 2) // opacity, 255)
    return np.concatenate([colours.astype(np.uint8), images[:, 3:]], axis=1)


def on_grey(images: Images) -> Images:
    """Premultiplied uint8 [n, 4, H, W] on the middle grey: [n, 3, H, W]; others as they are."""
    if images.shape[1] != CHANNELS:
        return images
    behind = (255 - images[:, 3:].astype(np.uint16)) * 128 // 255
    seen: Images = np.minimum(images[:, :3] + behind, 255).astype(np.uint8)
    return seen


def on_checkers(image: Images) -> Images:
    """Straight uint8 [H, W, 4] as it looks on light and dark squares: uint8 [H, W, 3]."""
    height, width = image.shape[:2]
    rows, columns = (np.arange(side) // CHECKER_PX % 2 for side in (height, width))
    ground = np.where(rows[:, None] == columns, _LIGHT, _DARK).astype(np.float64)[..., None]
    share = image[..., 3:] / 255.0
    return np.rint(image[..., :3] * share + ground * (1.0 - share)).astype(np.uint8)

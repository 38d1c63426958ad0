"""From the numbers in a file to 0..255: which one is black, which one is white.

`prepare.levels` says it: `full` takes the format's own white (255, or 65535 in 16 bits, or 1.0), a
number is white itself, and `stretch` takes each image's own darkest and lightest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Levels = str | float
"""`full`, `stretch`, or the number that is white."""

_WHITE_IS_ZERO = 0
_PHOTOMETRIC = 262
# What a pixel's value times this is in the file: Pillow spreads grey of few bits over 0..255, and
# keeps the high byte of colours of 16 bits.
_UNITS = {"1": 1 / 255, "L;2": 3 / 255, "L;4": 15 / 255}
_HIGH_BYTE = 256.0


class ScaleError(Exception):
    """An image's numbers do not say what is black and what is white; the message says why."""


@dataclass(frozen=True)
class Scale:
    """The meaning of a number in a file, from its headers; `white` is None for floats.

    `unit` is a number in the file by the one that Pillow gives. `transparent` is the number, or
    the three, of the pixels that are not there, as Pillow gives them.
    """

    white: float | None = 255.0
    unit: float = 1.0
    inverted: bool = False
    transparent: float | tuple[int, ...] | None = None


def scale_of(image: Image.Image) -> Scale:
    """Read an image's scale from its headers: before its pixels are loaded, as Pillow drops them.

    A PNG has its transparent colour in as many bits as its pixels (PNG specification, tRNS), and
    Pillow gives it as it is beside pixels that it has spread or cut.
    """
    tiles = getattr(image, "tile", None)
    arguments = tiles[0].args if tiles else ""
    raw = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    raw = raw if isinstance(raw, str) else ""
    unit = next((unit for bits, unit in _UNITS.items() if raw.startswith(bits)), 1.0)
    if ";16" in raw and not is_deep(image):
        unit = _HIGH_BYTE
    white: float | None = 255 * unit
    if image.mode == "F":
        white = None
    elif is_deep(image):
        white = 4095.0 if raw.startswith("I;12") else 65535.0
    tags = getattr(image, "tag_v2", {})
    return Scale(
        white=white,
        unit=unit,
        inverted=is_deep(image) and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO,
        transparent=_transparent(image, unit),
    )


def _transparent(image: Image.Image, unit: float) -> float | tuple[int, ...] | None:
    colour = image.info.get("transparency")
    if image.mode not in ("L", "RGB", "I", "I;16") or isinstance(colour, bytes):
        return None  # of a palette; of one bit it is as the pixels are
    if isinstance(colour, tuple):
        return tuple(int(value // unit) for value in colour)
    return None if colour is None else round(colour / unit)


def is_deep(image: Image.Image) -> bool:
    """Tell whether an image's pixels are other numbers than bytes."""
    return image.mode in ("I", "F") or image.mode.startswith("I;")


def to_bytes(image: Image.Image, scale: Scale, levels: Levels) -> Image.Image:
    """Bring integers or floats to grey bytes, with alpha where a number is transparent.

    Raises ScaleError when `full` does not say what is white.
    """
    pixels = np.asarray(image)
    grey = _grey(pixels, scale, levels)
    made = Image.fromarray(255 - grey if scale.inverted else grey)
    if scale.transparent is not None:
        made.putalpha(Image.fromarray(np.where(pixels == scale.transparent, 0, 255).astype("u1")))
    return made


def _grey(pixels: NDArray[np.generic], scale: Scale, levels: Levels) -> NDArray[np.uint8]:
    numbers = pixels.astype(np.float64)
    low, high = float(numbers.min()), float(numbers.max())
    if not np.isfinite(high - low):
        raise ScaleError("float pixels outside 0..1: some are no numbers")
    if levels == "stretch":
        return _between(numbers, low, high)
    if levels != "full":
        return _between(numbers, 0.0, float(levels))
    if low < 0 or high > (scale.white or 1):
        kind, white = ("float", "1") if scale.white is None else ("32-bit integer", "65535")
        raise ScaleError(
            f"{kind} pixels outside 0..{white}, so their scale is unknown: set prepare.levels to "
            "stretch, or to the number that is white"
        )
    if scale.white is None:
        return _between(numbers, 0.0, 1.0)
    return (numbers // ((scale.white + 1) / 256)).astype(np.uint8)  # the high byte


def stretched(image: Image.Image, scale: Scale, levels: Levels) -> Image.Image:
    """Spread the bytes of an image in grey or colours, its alpha left as it is.

    A number above what the file's pixels can hold is meant for others, and changes nothing.
    """
    if levels == "full" or (levels != "stretch" and float(levels) >= (scale.white or 0)):
        return image
    pixels = np.array(image)
    alpha = image.mode in ("LA", "RGBA")
    colours = pixels[..., :-1] if alpha else pixels
    black, white = (
        (float(colours.min()), float(colours.max()))
        if levels == "stretch"
        else (0.0, float(levels) / scale.unit)
    )
    if black < white:
        colours[...] = _between(np.arange(256.0), black, white)[colours]
    return Image.fromarray(pixels)


def _between(numbers: NDArray[np.float64], black: float, white: float) -> NDArray[np.uint8]:
    """Black to 0, white to 255, rounded; what is beyond them is cut. One number alone is black."""
    span = white - black
    share = (numbers - black) / span if span > 0 else np.zeros_like(numbers)
    return np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8)

"""From the bytes of one image file to pixels uint8 [C, H, W], each step stated.

| in the file                | becomes                                                            |
|----------------------------|--------------------------------------------------------------------|
| EXIF or TIFF orientation   | applied                                                            |
| several frames or pages    | the first                                                          |
| 1 bit                      | 0 and 255                                                          |
| palette                    | the palette's colours                                              |
| alpha, transparent colour  | composited over `background` (in 8 bit, before resizing)           |
|   asked as RGBA            | kept; resized premultiplied, and black where nothing can be seen   |
| CMYK, YCbCr, LAB, HSV      | RGB by Pillow's conversion; embedded colour profiles are ignored   |
| 12 and 16 bit              | the high byte: v >> 4, v >> 8                                      |
| 32-bit integer (I)         | v >> 8 when all of 0..65535, else refused                          |
| float (F)                  | round(255 v) when all of 0..1, else refused: the scale is unknown  |
| these, and 8 bit           | as `levels` says, if it is not `full`: see levels.py               |
| TIFF where white is zero   | as meant, in any depth                                             |
| RGB asked as grey          | ITU-R 601 luma, (19595 R + 38470 G + 7471 B + 32768) >> 16         |
| grey asked as RGB          | the three channels alike                                           |
| of another shape           | `crop`: its centre; `pad`: centred on `background`                 |
| another size               | Lanczos with antialiasing (sharpest of Pillow's, StyleGAN's choice)|

A large JPEG is decoded at 1/2, 1/4 or 1/8 when that still leaves four times the wanted size. One
that was cut off is refused, also where it was closed again: see jpeg.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from monge import sizes
from monge.data import fit, jpeg, levels
from monge.data.encoded import Encoded, RejectedError, content_of, limited, open_content, why
from monge.data.remarks import Traits, traits_of

_GREY_SPREAD = 24  # of 255: how far apart the channels of a grey may be

CONVERSION = {
    "alpha": "composited over background before resizing",
    "bits_16": "high byte",
    "colour_profile": "ignored",
    "float": "0..1 times 255, rounded; others refused",
    "frames": "first",
    "grey": "ITU-R 601 luma, (19595 R + 38470 G + 7471 B + 32768) >> 16",
    "large_jpeg": "decoded at a fraction that leaves at least 4 times the size",
    "orientation": "applied",
    "resize": "Pillow Lanczos, antialiased",
}

KEPT = "kept; resized premultiplied, black where it is 0, which padding is"
"""The treatment of alpha where the opacity is a channel."""


_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION, _ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)
_JPEG_MARGIN = 4


CHANNELS = {"grey": 1, "rgb": 3, "rgba": 4}
"""The number of channels in a packed image, by `prepare.colour`."""

COLOUR_OF = {channels: colour for colour, channels in CHANNELS.items()}


@dataclass(frozen=True)
class Recipe:
    """The form of every packed image: `size` as in `prepare.resolution`, `background` #rrggbb."""

    size: int | str
    colour: str
    fit: str
    background: str
    max_pixels: int
    levels: levels.Levels = "full"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        width, height = self.sides
        return (CHANNELS[self.colour], height, width)

    @property
    def sides(self) -> tuple[int, int]:
        """(width, height)."""
        return sizes.sides(self.size)


@dataclass(frozen=True)
class Decoded:
    """The images of a chunk that could be read, uint8 [k, C, H, W], with the traits of each.

    `reasons` is as long as the chunk, and has None for these.
    """

    images: NDArray[np.uint8]
    reasons: list[str | None]
    traits: list[Traits]


def decode_chunk(chunk: list[Encoded], recipe: Recipe) -> Decoded:
    """Decode what can be decoded; a decoder that fails on one image costs only that image."""
    images: list[NDArray[np.uint8]] = []
    reasons: list[str | None] = []
    traits: list[Traits] = []
    with limited(recipe.max_pixels):
        for encoded in chunk:
            try:
                pixels, seen = _decoded(encoded, recipe)
                images.append(pixels)
                traits.append(seen)
                reasons.append(None)
            except Exception as error:  # decoders raise anything on bad bytes
                reasons.append(why(error, recipe.max_pixels))
    stacked = np.stack(images) if images else np.empty((0, *recipe.image_shape), np.uint8)
    return Decoded(stacked, reasons, traits)


def decode(encoded: Encoded, recipe: Recipe) -> NDArray[np.uint8]:
    """One image as uint8 [C, H, W]; raises RejectedError or what a decoder raises."""
    return _decoded(encoded, recipe)[0]


def _decoded(encoded: Encoded, recipe: Recipe) -> tuple[NDArray[np.uint8], Traits]:
    data = content_of(encoded)
    image = open_content(data)
    width, height = image.size
    if width * height > recipe.max_pixels:
        raise RejectedError(
            f"{width} x {height} pixels are over the limit {recipe.max_pixels} (prepare.max_pixels)"
        )
    scale, several = levels.scale_of(image), _has_frames(image)
    image = _loaded(image, recipe)
    if (
        isinstance(data, bytes)
        and image.format in ("JPEG", "MPO")
        and jpeg.is_cut(data, image, lambda other: _loaded(open_content(other), recipe))
    ):
        raise RejectedError(jpeg.CUT)
    peak = float(np.asarray(image).max()) if levels.is_deep(image) else None
    image = _upright(image)
    transparent, coloured = _shows_through(image), recipe.colour == "grey" and _is_coloured(image)
    image = _coloured(image, scale, recipe)
    pixels = np.asarray(_fitted(image, recipe))
    if recipe.colour == "rgba":
        pixels = pixels * (pixels[..., 3:] > 0)  # no colour to learn from where none is seen
    pixels = pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
    traits = traits_of(pixels, image, (width, height), scale, recipe.levels, peak)
    return pixels, replace(traits, transparent=transparent, coloured=coloured, several=several)


def _loaded(image: Image.Image, recipe: Recipe) -> Image.Image:
    if recipe.fit == "crop" or image.width == image.height:
        width, height = (_JPEG_MARGIN * side for side in recipe.sides)
        image.draft(None, (height, width) if _is_on_its_side(image) else (width, height))
    image.load()
    return image


def _upright(image: Image.Image) -> Image.Image:
    # Pillow turns a TIFF itself while loading, and then its orientation reads 1.
    how = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    return image if how is None else image.transpose(how)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an image as it is seen, its orientation applied."""
    return image.size[::-1] if _is_on_its_side(image) else image.size


def _is_on_its_side(image: Image.Image) -> bool:
    """Tell whether its orientation will swap width and height."""
    return image.getexif().get(_ORIENTATION, 1) in _ON_ITS_SIDE


def _has_frames(image: Image.Image) -> bool:
    """Tell whether it has pages or frames behind the first; an MPO's are its own previews."""
    return image.format != "MPO" and bool(getattr(image, "is_animated", False))


def _shows_through(image: Image.Image) -> bool:
    """Tell whether any pixel is transparent, in part or wholly."""
    if image.mode == "La":  # Pillow has no other way from premultiplied grey
        image = image.convert("LA")
    if not image.has_transparency_data:
        return False
    return bool(np.asarray(image.convert("RGBA").getchannel("A")).min() < 255)


def _is_coloured(image: Image.Image) -> bool:
    """Tell whether any part of it has a colour, as a person sees it."""
    if image.mode in ("1", "L", "LA", "La") or levels.is_deep(image):
        return False
    flat = image.convert("RGB") if image.mode in ("P", "PA") else image
    small = np.asarray(flat.resize((16, 16), Image.Resampling.BOX).convert("RGB"), np.int16)
    return bool(np.ptp(small, axis=2).max() > _GREY_SPREAD)


def _coloured(image: Image.Image, scale: levels.Scale, recipe: Recipe) -> Image.Image:
    """Bring an image to mode L, RGB or RGBA."""
    image = _in_bytes(image, scale, recipe.levels)
    if recipe.colour == "rgba":
        return image.convert("RGBA")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, recipe.background)
        image = Image.alpha_composite(ground, image)
    if image.mode != "RGB" and (recipe.colour == "rgb" or image.mode not in ("1", "L")):
        image = image.convert("RGB")
    if recipe.colour == "grey" and image.mode != "L":
        image = image.convert("L")
    return image


def _in_bytes(image: Image.Image, scale: levels.Scale, wanted: levels.Levels) -> Image.Image:
    """Apply the levels before what is transparent is composited over a ground that has its own."""
    if levels.is_deep(image):
        try:
            return levels.to_bytes(image, scale, wanted)
        except levels.ScaleError as error:
            raise RejectedError(str(error)) from None
    if image.mode == "La":  # Pillow has no other way from premultiplied grey
        image = image.convert("LA")
    if scale.transparent is not None:
        image.info["transparency"] = scale.transparent
    if wanted == "full":
        return image
    if image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode not in ("L", "RGB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    return levels.stretched(image, scale, wanted)


def _fitted(image: Image.Image, recipe: Recipe) -> Image.Image:
    if recipe.fit == "crop":
        return fit.cropped(image, *recipe.sides)
    return fit.padded(image, *recipe.sides, recipe.background)

"""An image brought to a width and a height: its centre cropped, or all of it on a ground."""

from __future__ import annotations

from PIL import Image


def cropped(image: Image.Image, width: int, height: int) -> Image.Image:
    """The largest part of this shape in the middle of an image, resized."""
    across, down = image.size
    if _is_wider(image, width, height):
        across = max(1, round(down * width / height))
    else:
        down = max(1, round(across * height / width))
    left, top = (image.width - across) // 2, (image.height - down) // 2
    if (across, down) != image.size:
        image = image.crop((left, top, left + across, top + down))
    return _resized(image, width, height)


def padded(image: Image.Image, width: int, height: int, background: str) -> Image.Image:
    """All of an image, as large as there is room, in the middle of a ground.

    The ground of an image with opacity is clear; else it is `background`, #rrggbb.
    """
    if _is_wider(image, width, height):
        across, down = width, max(1, round(image.height * width / image.width))
    else:
        across, down = max(1, round(image.width * height / image.height)), height
    if image.mode == "RGBA":
        canvas = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    else:
        canvas = Image.new("RGB", (width, height), background).convert(image.mode)
    canvas.paste(_resized(image, across, down), ((width - across) // 2, (height - down) // 2))
    return canvas


def _is_wider(image: Image.Image, width: int, height: int) -> bool:
    """Tell whether an image is wider for its height than the shape that it is brought to."""
    return image.width * height > image.height * width


def _resized(image: Image.Image, width: int, height: int) -> Image.Image:
    """Pillow resizes colours with their opacity as weights, premultiplied, and undoes it."""
    size = (width, height)
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)

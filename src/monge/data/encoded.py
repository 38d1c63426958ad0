"""An image file's bytes, opened: which formats are read, and why one cannot be."""

from __future__ import annotations

import functools
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from monge.data import foreign

# Raster formats with decoders of their own: none that starts another program (EPS, PDF, WMF).
FORMATS = (
    "AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "QOI", "TIFF", "WEBP",
)  # fmt: skip

MAX_FILE_BYTES = 256 * 2**20
_CUT, _DAMAGED = "image file is truncated", "image file is damaged"

_PLAINER = {
    "Truncated File Read": _CUT, "not enough image data": _CUT, "unexpected end of file": _CUT,
    "broken data stream when reading image file": _DAMAGED,
    "unrecognized data stream contents when reading image file": _DAMAGED,
    "could not create decoder object": f"{_DAMAGED} or truncated",
}  # fmt: skip
"""The messages of some decoders, in the words of others."""


@dataclass(frozen=True)
class Unreadable:
    """Stands where an image's bytes would be, with the reason why they are not there."""

    reason: str


# Encoded bytes, the path of a file, pixels [H, W] or [H, W, 3], or why there is none of these.
Encoded = bytes | str | NDArray[np.uint8] | Unreadable


class RejectedError(Exception):
    """This image cannot be used; the message is the reason given to the user."""


@contextmanager
def limited(max_pixels: int) -> Iterator[None]:
    """Let no decoder warn, or go on with an image of more pixels than these."""
    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        # Pillow's own bomb check works on frames that the header does not show: give it our limit.
        Image.MAX_IMAGE_PIXELS = max_pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


@functools.cache
def image_extensions() -> frozenset[str]:
    """List the file name endings (lower case, with the dot) that are taken for images."""
    known = Image.registered_extensions().items()
    return frozenset(extension for extension, kind in known if kind in FORMATS)


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(kind for kind in FORMATS if kind in Image.OPEN)


def opened(encoded: Encoded) -> Image.Image:
    """Open an image, its header alone; raises RejectedError or what a decoder raises."""
    return open_content(content_of(encoded))


def content_of(encoded: Encoded) -> bytes | NDArray[np.uint8]:
    """Read an image's bytes, or its pixels as they are. Raises RejectedError."""
    if isinstance(encoded, Unreadable):
        raise RejectedError(encoded.reason)
    if isinstance(encoded, np.ndarray):
        return encoded
    if isinstance(encoded, str):
        with open(encoded, "rb") as file:
            encoded = file.read(MAX_FILE_BYTES + 1)
    if len(encoded) > MAX_FILE_BYTES:
        raise RejectedError(f"the file is larger than {MAX_FILE_BYTES // 2**20} MiB")
    if not encoded:
        raise RejectedError("the file is empty")
    return encoded


def open_content(content: bytes | NDArray[np.uint8]) -> Image.Image:
    """Open what `content_of` read, its header alone; raises what `opened` raises."""
    if isinstance(content, np.ndarray):
        return Image.fromarray(content)
    try:
        return Image.open(io.BytesIO(content), formats=_formats())
    except UnidentifiedImageError:
        found = foreign.known(content[: foreign.HEAD_BYTES])
        but = "" if found is None else f", but {found.what}: {found.way}"
        raise RejectedError(f"not an image of a format that is read{but}") from None


def why(error: Exception, max_pixels: int) -> str:
    """Put a decoder's complaint into one line that is the same on every run."""
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"more pixels than the limit {max_pixels} (prepare.max_pixels)"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    message: Any = " ".join(str(error).split())
    message = _PLAINER.get(message, message)
    return re.sub(r"0x[0-9a-fA-F]+", "0x", message)[:200] or type(error).__name__

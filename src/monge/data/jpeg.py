"""Telling a JPEG whose picture was cut off from one that is whole.

A file that simply ends is noticed by Pillow. One that was closed, by the two bytes that end every
JPEG, is not: libjpeg fills what is missing with grey, or leaves out a progressive file's finer
scans, and says so in a warning that Pillow does not pass on. So it is asked in another way. Bytes
put before the end of a whole picture change nothing: all of its blocks are there, and libjpeg skips
what follows. In a cut one they are read as the missing blocks, and the picture changes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

CUT = "the JPEG is cut off: a part of the picture is missing"

_SCAN, _END = 0xDA, 0xD9
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the others are tables
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
# Within a scan, 0xff 00 stands for a byte 0xff, and the restart markers d0 to d7 belong to it.
_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
# Of any content, and with every restart marker, for the one that the missing blocks come behind.
_NOISE = bytes((37 * number + 11) % 251 for number in range(64))
_FILLING = _NOISE + b"".join(bytes((0xFF, 0xD0 + number)) + _NOISE for number in range(8))
_ZEROS = bytes(32)
_GREY = range(112, 144)
# In a picture of fewer pixels one block of 16 x 16 is over a quarter.
_SMALL = 32 * 32


class _Scans(NamedTuple):
    """The findings in a file's markers: the place of the one that ends it, and what came before."""

    end: int | None
    pixels: int
    progressive: bool
    complete: bool


def is_cut(data: bytes, image: Image.Image, again: Callable[[bytes], Image.Image]) -> bool:
    """Tell whether a part of a decoded JPEG is missing; `again` decodes bytes as `image` was.

    A second look costs a second decoding, and so is taken only where it may find something: in
    a progressive picture, a very small one, and one that ends in grey.
    """
    scans = _scans(data)
    if scans.end is None:
        return data.endswith(_ZEROS)  # the place was kept, and the end has never arrived
    if not scans.complete:
        return True
    corner = image.getpixel((image.width - 1, image.height - 1))
    levels = corner if isinstance(corner, tuple) else (corner,)
    suspicious = scans.progressive or all(level in _GREY for level in levels)
    if not suspicious and scans.pixels >= _SMALL:
        return False
    try:
        other = again(data[: scans.end] + _FILLING + data[scans.end :])
    except OSError:
        return True
    return not np.array_equal(np.asarray(image), np.asarray(other))


def _scans(data: bytes) -> _Scans:
    """Walk from marker to marker (ITU-T T.81, annex B).

    The scans are complete when together they bring all 64 coefficients of each component to their
    last bit: the file says in each scan's header which ones are in it.
    """
    position, pixels, progressive = 2, 0, False
    missing: dict[int, set[int]] = {}
    while (found := _MARKER.search(data, position)) is not None:
        kind, position = found[1][0], found.end()
        if kind == _END:
            return _Scans(found.start(), pixels, progressive, not any(missing.values()))
        length = int.from_bytes(data[position : position + 2], "big")
        content = data[position + 2 : position + length]
        if kind in _FRAMES and len(content) > 5:
            progressive = kind in _PROGRESSIVE
            height, width = content[1:3], content[3:5]
            pixels = int.from_bytes(height, "big") * int.from_bytes(width, "big")
            missing = {identity: set(range(64)) for identity in content[6::3]}
        elif kind == _SCAN and len(content) > 3 and content[-1] & 15 == 0:
            for identity in content[1:-3:2]:
                missing.get(identity, set()).difference_update(range(content[-3], content[-2] + 1))
        position += max(2, length)
    return _Scans(None, pixels, progressive, complete=False)

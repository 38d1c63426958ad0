"""The sizes of images: how they are written, and which ones a family of networks takes.

A size is written as image tools print it, width first: 48x32 is 48 pixels wide and 32 high, and a
plain number is a square. Arrays and contracts have the height first, as arrays do.

A convolutional family doubles its smallest map k times: each side of an image is a side of that
map, of which the shorter one has 4 to 7 pixels, times 2 ** k.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

LEAST, MOST = 4, 1024
"""The pixels of a side, whatever draws it."""

LARGEST = {"dcgan": 128, "resnet": 256}
"""The pixels of the longest side that a family with convolutions draws, by its section of `train`.
An mlp draws any size."""

_WRITTEN = re.compile(r"\s*(\d{1,9})\s*[xX×*]\s*(\d{1,9})\s*", re.ASCII)
_NEAR = 3
_FORM = "pixels a side, as 64, or width x height, as 48x32"


def resolution(value: Any) -> int | str:
    """Read a size as `prepare.resolution` keeps it: a number for a square, else "48x32".

    Also of 48 X 32 and 32x32. Raises ValueError that says what it must be.
    """
    found = _WRITTEN.fullmatch(value) if isinstance(value, str) else None
    if found is None and type(value) is not int:
        raise ValueError(f"must be {_FORM}")
    sides = (value, value) if found is None else (int(found[1]), int(found[2]))
    for wrong, bound in (
        (min(sides) < LEAST, f"least {LEAST}"),
        (max(sides) > MOST, f"most {MOST}"),
    ):
        if wrong:
            raise ValueError(f"must be at {bound}{'' if sides[0] == sides[1] else ' on each side'}")
    return written(*sides)


def written(width: int, height: int) -> int | str:
    """Write a size as `prepare.resolution` keeps it."""
    return width if width == height else f"{width}x{height}"


def told(width: int, height: int) -> str:
    """Write a size in a sentence, with the order of the two where they differ."""
    return f"{width}x{height} pixels{'' if width == height else ' (width x height)'}"


def sides(size: int | str) -> tuple[int, int]:
    """Give width and height of a size as `prepare.resolution` keeps it."""
    if isinstance(size, int):
        return size, size
    width, _, height = size.partition("x")
    return int(width), int(height)


def doublings(height: int, width: int, family: str) -> int:
    """Count the doublings from a family's smallest map to images of this size.

    Raises ValueError for a size that it does not draw, with the nearest ones that it does.
    """
    if not draws(family, width, height):
        raise ValueError(refusal(height, width, family))
    return _doublings(height, width)


def refusal(height: int, width: int, family: str) -> str:
    """Say that a family draws no such size, which ones are near, and the rule."""
    largest = LARGEST[family]
    texts = [
        str(across) if width == height else f"{across}x{down}"
        for across, down in nearest(width, height, largest)
    ]
    near = f"{', '.join(texts[:-1])} or {texts[-1]}"
    order = "" if width == height else " (width x height)"
    return (
        f"{family} draws no {written(width, height)}, but {near}{order}: both sides are one power "
        f"of two times a whole number, 4 to 7 for the shorter side, and at most {largest} pixels"
    )


def draws(family: str, width: int, height: int) -> bool:
    """Tell whether a family of LARGEST draws images of this size."""
    return bool(_doublings(height, width)) and max(height, width) <= LARGEST[family]


def _doublings(height: int, width: int) -> int:
    """The doublings that give the shorter side of the smallest map 4 to 7 pixels; 0 for none."""
    times = min(height, width).bit_length() - 3
    return 0 if times < 1 or height % 2**times or width % 2**times else times


def possible(largest: int) -> Iterator[tuple[int, int]]:
    """Yield every width and height that a family draws up to its largest side."""
    for across in range(8, largest + 1, 2):
        for down in range(8, largest + 1, 2):
            if _doublings(down, across):
                yield across, down


def nearest(width: int, height: int, largest: int) -> list[tuple[int, int]]:
    """Find the sizes, as (width, height), that a family draws nearest to one that it does not.

    Nearest in shape first, which counts twice, and in size; for a square they are squares.
    """

    def apart(size: tuple[int, int]) -> float:
        across, down = math.log(size[0] / width), math.log(size[1] / height)
        return 2 * abs(across - down) + abs(across + down)

    squares = width == height
    found = (size for size in possible(largest) if not squares or size[0] == size[1])
    return sorted(sorted(found, key=apart)[:_NEAR])

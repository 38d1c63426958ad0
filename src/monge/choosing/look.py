"""A look at a set of images before it is packed: how large, which colours, what is around them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from monge.data.decode import upright_size
from monge.data.encoded import Encoded, limited, opened, why
from monge.data.listing import Item

LOOKED_AT = 400
"""At least half and at most twice as many images, from all over the set, are decoded."""

_SIDE = 64
_COLOURLESS = 12  # of 255: how far apart the channels of a grey pixel may be
_OPAQUE = 250
_ALIKE = 1.05


@dataclass(frozen=True)
class Look:
    """The findings of a look; shares are of the images that were looked at, from 0 to 1."""

    pictures: int
    looked_at: int
    side: int
    """The median of the images' shorter sides, in pixels."""
    colourless: float
    transparent: float
    square: float
    """Sides that differ by less than a tenth."""
    framed: float
    """Images with one colour all around, or nothing."""
    frame: str
    """The commonest of those colours, as #rrggbb; empty where there is none."""
    light: float
    """The median lightness of what is not transparent, from 0 to 1."""
    aspect: float = 1.0
    """The median of width over height."""
    alike: float = 0.0
    """Images whose width over height is that, within a twentieth."""


@dataclass(frozen=True)
class _Seen:
    side: int
    square: bool
    colourless: bool
    transparent: bool
    frame: str
    light: float
    aspect: float


def look(items: Iterable[Item], max_pixels: int) -> Look:
    """Look at a sample from all over a source; what cannot be read is passed over."""
    count, sample = _sample(items)
    seen = [one for one in (_seen(encoded, max_pixels) for encoded in sample) if one is not None]
    if not seen:
        return Look(count, 0, 0, 0.0, 0.0, 1.0, 0.0, "", 0.0)
    aspect = median(one.aspect for one in seen)
    frames = Counter(one.frame for one in seen if one.frame)
    return Look(
        pictures=count,
        looked_at=len(seen),
        side=int(median(one.side for one in seen)),
        colourless=_share(one.colourless for one in seen),
        transparent=_share(one.transparent for one in seen),
        square=_share(one.square for one in seen),
        framed=_share(bool(one.frame) or one.transparent for one in seen),
        frame=frames.most_common(1)[0][0] if frames else "",
        light=median(one.light for one in seen),
        aspect=aspect,
        alike=_share(1 / _ALIKE <= one.aspect / aspect <= _ALIKE for one in seen),
    )


def unreadable(encoded: Encoded, max_pixels: int) -> str:
    """Say why an image cannot be opened; nothing where it can."""
    try:
        with limited(max_pixels):
            opened(encoded)
    except Exception as error:  # decoders raise anything on bad bytes
        return why(error, max_pixels)
    return ""


def _sample(items: Iterable[Item]) -> tuple[int, list[Encoded]]:
    """Count them and keep every k-th, where k doubles whenever too many are kept."""
    kept: list[Encoded] = []
    every, count = 1, 0
    for _, encoded in items:
        if count % every == 0:
            kept.append(encoded)
        count += 1
        if len(kept) >= 2 * LOOKED_AT:
            kept, every = kept[::2], 2 * every
    return count, kept


def _seen(encoded: Encoded, max_pixels: int) -> _Seen | None:
    try:
        with limited(max_pixels):
            image = opened(encoded)
            width, height = upright_size(image)
            image.draft(None, (2 * _SIDE, 2 * _SIDE))
            image.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
            pixels = np.asarray(image.convert("RGBA"))
    except Exception:  # decoders raise anything on bad bytes; `prepare` will say which
        return None
    opaque = pixels[..., 3] >= _OPAQUE
    colours = pixels[..., :3].astype(np.int16)
    shown = colours[opaque] if opaque.any() else colours.reshape(-1, 3)
    return _Seen(
        side=min(width, height),
        square=max(width, height) <= 1.1 * min(width, height),
        colourless=bool(np.ptp(shown, axis=1).max() <= _COLOURLESS),
        transparent=bool((pixels[..., 3] < _OPAQUE).any()),
        frame=_frame(pixels),
        light=float(shown.mean()) / 255,
        aspect=width / height,
    )


def _frame(pixels: NDArray[np.uint8]) -> str:
    """The one colour of all of an image's border, #rrggbb; empty where it has several, or none."""
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]).astype(np.int16)
    if border[:, 3].min() < _OPAQUE or np.ptp(border, axis=0).max() > _COLOURLESS:
        return ""
    return "#{:02x}{:02x}{:02x}".format(*np.median(border[:, :3], axis=0).astype(int))


def _share(found: Iterable[bool]) -> float:
    return float(np.mean(list(found)))

"""Notes what is doubtful about images that could be read, and tells it in a line a kind."""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from monge.data.levels import Levels, Scale

_FEW_LEVELS = 32
_THIN = 8


@dataclass(frozen=True)
class Traits:
    """The traits that make an image a doubtful one.

    `flat`: all that is packed of it is one colour. `dim`: it uses under an eighth of the levels
    there are; `peak` is then the largest number in the file, or 0 where that is near white.
    `thin`: over eight times as long or as wide as what is packed. `transparent`: in some of its
    pixels, at least in part. `coloured`: it has colours, and is packed as grey. `several`: frames
    or pages.
    """

    flat: bool = False
    dim: bool = False
    thin: bool = False
    peak: float = 0.0
    transparent: bool = False
    coloured: bool = False
    several: bool = False
    side: int = 0
    """Pixels of the shorter side of the image in its file."""


def traits_of(
    packed: NDArray[np.uint8],
    whole: Image.Image,
    size: tuple[int, int],
    scale: Scale,
    levels: Levels,
    peak: float | None,
) -> Traits:
    """Look at an image of `size` as a `whole` in bytes, and as it is packed, uint8 [C, H, W].

    `peak` is the largest number of one whose file has others than bytes.
    """
    flat = bool((packed.min(axis=(1, 2)) == packed.max(axis=(1, 2))).all())
    ends = np.array(whole.getextrema()).reshape(-1, 2)[:3]  # opacity is no light
    low, high = int(ends[:, 0].min()), int(ends[:, 1].max())
    white = scale.white or 1.0
    if peak is not None and levels == "full":
        dim = peak * 8 < white
        flat = flat and not dim  # what is black for want of a scale is not for want of a picture
    else:
        dim = high - low < _FEW_LEVELS and not flat
    peak = high * scale.unit if peak is None else peak
    down, across = packed.shape[1:]
    ratio = size[0] * down, size[1] * across
    thin = max(ratio) > _THIN * min(ratio)
    return Traits(flat, dim, thin, peak if peak * 2 < white else 0.0, side=min(size))


@dataclass
class Remarks:
    """The doubtful images of a source, by what is doubtful about them."""

    flat: list[str] = field(default_factory=list)
    dim: list[str] = field(default_factory=list)
    thin: list[str] = field(default_factory=list)
    transparent: list[str] = field(default_factory=list)
    coloured: list[str] = field(default_factory=list)
    several: list[str] = field(default_factory=list)
    peak: float = 0.0

    def note(self, name: str, traits: Traits) -> None:
        """Take in one image."""
        for kind in ("flat", "dim", "thin", "transparent", "coloured", "several"):
            if getattr(traits, kind):
                getattr(self, kind).append(name)
        if traits.dim:
            self.peak = max(self.peak, traits.peak)

    def sentences(
        self, packed: Set[str], fit: str, background: str, size: int | str = 0
    ) -> list[str]:
        """Say of each kind how many of the packed images there are, and what to do about it.

        `size` is that of what is packed, a number where it is square; `background` is empty where
        what is transparent stays so.
        """
        said = []
        if flat := packed & set(self.flat):
            said.append(
                f"{_counted(flat, packed)} of one colour: leave them out if there is "
                "nothing in them"
            )
        if dim := packed & set(self.dim):
            said.append(
                f"{_counted(dim, packed)} in under an eighth of the levels from black to "
                f"white. If they should not be so dim: {_white(self.peak)}prepare.levels=stretch "
                "spreads each image's own darkest and lightest"
            )
        if thin := packed & set(self.thin):
            than = "wide" if isinstance(size, int) else f"wide, or as wide as long, beside {size}"
            told = "keeps less than an eighth" if fit == "crop" else "leaves a line"
            way = "set prepare.fit to pad, or cut" if fit == "crop" else "cut"
            said.append(
                f"{_counted(thin, packed)} over {_THIN} times as long as {than}, of which fit: "
                f"{fit} {told}: {way} them into pieces"
            )
        if (transparent := packed & set(self.transparent)) and background:
            said.append(
                f"{_counted(transparent, packed)} transparent in parts: {background} is put "
                "behind them, which is prepare.background; prepare.colour=rgba keeps them so"
            )
        if coloured := packed & set(self.coloured):
            said.append(
                f"{_counted(coloured, packed)} in colours and packed as grey: "
                "prepare.colour=rgb keeps them"
            )
        if several := packed & set(self.several):
            said.append(
                f"{_counted(several, packed)} of several frames or pages, of which the first is "
                "taken: write the others as files if they are wanted"
            )
        return said


def _counted(some: Set[str], packed: Set[str]) -> str:
    """Count them and name the first."""
    which, verb = (min(some), "is") if len(some) == 1 else (f"{min(some)}, ...", "are")
    return f"{len(some)} of {len(packed)} images ({which}) {verb}"


def _white(peak: float) -> str:
    """Propose the largest number of as many bits; of numbers below one the largest itself."""
    if not peak:
        return ""
    number = f"{peak:.3g}" if peak < 1 else str(2 ** math.ceil(math.log2(peak + 1)) - 1)
    return f"prepare.levels={number} makes that number in the file white, and "

"""Defines a study: a claim of a paper, and the numbers that decide about it.

A script says which claim it tries in a `STUDY` of literals, and does the work in a function
`study` that takes the conditions of a run and gives a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Scale = Literal["quick", "default", "full"]
Verdict = Literal["holds", "holds in part", "does not hold here"]
T = TypeVar("T")


@dataclass(frozen=True)
class Study:
    """A claim: where it stands, what it says, and how long it takes to try.

    `seconds` are those of the quick and of the default size, on two cores. `full` says what the
    paper's own size needs, where a script has one beyond the default. `images` is whether it may be
    tried on images of the user's.
    """

    title: str
    source: str
    claim: str
    seconds: tuple[float, float]
    full: str = ""
    images: bool = False


@dataclass(frozen=True)
class Conditions:
    """The conditions of a run: its size, its seed, the images it may use, and who is told.

    `images` is a folder or an archive of the user's; studies of images have data of their own
    where it is None. `progress` wraps what takes long, as tqdm does.
    """

    scale: Scale = "default"
    seed: int = 0
    images: Path | None = None
    progress: Callable[..., Any] = iter

    def at(self, quick: T, default: T, full: T | None = None) -> T:
        """The value for this run's size; the default's, where the paper's own is no larger."""
        if self.scale == "quick":
            return quick
        return full if self.scale == "full" and full is not None else default

    def dice(self) -> np.random.Generator:
        """Random numbers of this run's seed."""
        return np.random.default_rng(self.seed)

    def steps(self, count: int) -> Iterator[int]:
        """Count from 0, and tell how far it is."""
        counted: Iterable[int] = self.progress(range(count))
        return iter(counted)


@dataclass(frozen=True)
class Number:
    """A number that was found, and between which two the claim holds.

    `paper` is what the source has at its place, in its words; empty where it gives none.
    """

    name: str
    value: float
    low: float
    high: float
    paper: str = ""

    @property
    def within(self) -> bool:
        """Tell whether it is where the claim wants it; never where it is not a number."""
        return self.low <= self.value <= self.high


@dataclass(frozen=True)
class Finding:
    """The finding of a run: the numbers that decide, and the picture."""

    numbers: Sequence[Number]
    figure: Figure

    @property
    def verdict(self) -> Verdict:
        """Judge whether the claim holds: by all of its numbers, by some, or by none."""
        within = [number.within for number in self.numbers]
        if all(within):
            return "holds"
        return "holds in part" if any(within) else "does not hold here"

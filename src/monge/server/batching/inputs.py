"""The rows of a batch: images by their numbers, or latents that a client brought."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from monge.contract import Contract
from monge.labels import Labels, Wanted, chosen, drawn_of
from monge.latents import latents_of, share_within
from monge.serving.sampler import Images, Latents


@dataclass(frozen=True, eq=False, slots=True)
class Numbered:
    """Names images by number: of seeds[r] the image indices[r], with its share of the normal."""

    seeds: NDArray[np.uint64]
    indices: NDArray[np.uint64]
    kept: NDArray[np.float64]

    @classmethod
    def of_seed(cls, seed: int, first: int, n: int, truncation: float | None) -> Self:
        """Images first .. first + n − 1 of a seed."""
        seeds, indices, kept = np.empty(n, np.uint64), np.arange(n, dtype=np.uint64), np.empty(n)
        seeds.fill(seed)
        indices += np.uint64(first)
        kept.fill(_kept(truncation))
        return cls(seeds, indices, kept)

    @classmethod
    def of_seeds(cls, seeds: Sequence[int], truncation: float | None) -> Self:
        """Image 0 of each seed."""
        n = len(seeds)
        return cls(
            np.array(seeds, np.uint64), np.zeros(n, np.uint64), np.full(n, _kept(truncation))
        )

    def __len__(self) -> int:
        return len(self.seeds)

    def __getitem__(self, part: slice) -> Numbered:
        return Numbered(self.seeds[part], self.indices[part], self.kept[part])

    def labels(self, wanted: Wanted | None, contract: Contract) -> Labels | None:
        """Give those wanted, or those of seed and index; None where the generator takes none."""
        if wanted is not None:
            return chosen(wanted, len(self), contract.label_shares, contract.classes)
        if not contract.conditional:
            return None
        return drawn_of(self.seeds, self.indices, contract.label_shares)


@dataclass(frozen=True, eq=False, slots=True)
class Rows:
    """The rows of a request's images, with labels [n] for a conditional generator."""

    made_from: Numbered | Latents
    labels: Labels | None = None

    def __len__(self) -> int:
        return len(self.made_from)

    def __getitem__(self, part: slice) -> Rows:
        return Rows(self.made_from[part], None if self.labels is None else self.labels[part])


class Draws(Protocol):
    """Draws rows, in batches of the size that it likes, or of another up to the `largest`.

    `elsewhere` tells that it waits for a device: whoever draws then must be able to wait.
    """

    @property
    def batch_size(self) -> int: ...

    @property
    def largest(self) -> int: ...

    @property
    def elsewhere(self) -> bool: ...

    def draw_at_once(self, images: int) -> None:
        """Draw in batches of so many from now on."""
        ...

    def draw(self, parts: Sequence[Rows]) -> Images:
        """Images of the rows of all parts, one after the other: uint8 [n, H, W, C]."""
        ...


def gathered(parts: Sequence[Rows], dim: int) -> tuple[Latents, Labels | None]:
    """Latents [n, dim] and labels [n] of a batch, each part's where the part is."""
    labels = [part.labels for part in parts if part.labels is not None]
    latents = _latents([part.made_from for part in parts], dim)
    return latents, np.concatenate(labels) if labels else None


def _latents(parts: Sequence[Numbered | Latents], dim: int) -> Latents:
    """All that are numbered in one go, beside those that were brought."""
    numbered = [part for part in parts if isinstance(part, Numbered)]
    if not numbered:
        return np.concatenate([part for part in parts if not isinstance(part, Numbered)])
    drawn = latents_of(
        _joined([part.seeds for part in numbered]),
        _joined([part.indices for part in numbered]),
        _joined([part.kept for part in numbered]),
        dim,
    )
    if len(numbered) == len(parts):
        return drawn
    ends = np.cumsum([len(part) for part in numbered])
    turns = iter(np.split(drawn, ends[:-1]))
    return np.concatenate([next(turns) if isinstance(p, Numbered) else p for p in parts])


def _joined(columns: list[NDArray[Any]]) -> NDArray[Any]:
    return columns[0] if len(columns) == 1 else np.concatenate(columns)


def _kept(truncation: float | None) -> float:
    return 1.0 if truncation is None else share_within(truncation)

"""Tells a person what was packed, in one short block."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from monge import sizes
from monge.data.decode import COLOUR_OF
from monge.data.layout import FEW_OF_A_CLASS
from monge.data.listing import endings
from monge.data.packed import Images, PackedDataset
from monge.errors import SourceError

FEW, FAR_TOO_FEW = 2000, 200
"""Training images below which an opponent learns them by heart soon, or at once."""

ALIKE = 3.0
"""Two images are near copies where they differ by no more than so many levels on average.

And hardly anywhere by much: a drawing is white nearly everywhere, as others are.
"""

_OTHER, _OTHER_SHARE = 48, 0.002

_CLASSES, _NAMES = 12, 3
_SIDE = 8
_STEP = 4


class Oddities:
    """Names of packed images that are worth a look, found part by part: `copies`."""

    def __init__(self, images: Images) -> None:
        self.images = images
        self.copies: list[str] = []
        """Near copies of images that came before."""
        self._first: dict[bytes, tuple[str, int]] = {}

    def add(self, names: Sequence[str], rows: NDArray[np.int64], taken: NDArray[np.uint8]) -> None:
        """Look at images `taken` [n, C, H, W] of these rows; kept of each is a name and 8 bytes."""
        flat = (np.ptp(taken.reshape(*taken.shape[:2], -1), axis=2) == 0).all(axis=1)
        for name, row, image, is_flat, key in zip(
            names, rows.tolist(), taken, flat, _keys(taken), strict=True
        ):
            if is_flat:  # told apart from copies, by its own remark
                continue
            like, there = self._first.setdefault(key, (name, row))
            if like != name and self._are_alike(image, there):
                self.copies.append(name)

    def _are_alike(self, image: NDArray[np.uint8], row: int) -> bool:
        apart = np.abs(image.astype(np.int16) - self.images[row])
        return bool(apart.mean() <= ALIKE and (apart > _OTHER).mean() <= _OTHER_SHARE)


def _keys(images: NDArray[np.uint8]) -> list[bytes]:
    """Mark which of 8 by 9 places are lighter than the one before: alike for alike images."""
    rows = np.linspace(0, images.shape[2] - 1, _SIDE).round().astype(np.int64)
    columns = np.linspace(0, images.shape[3] - 1, _SIDE + 1).round().astype(np.int64)
    grey = images[:, :, rows][:, :, :, columns].mean(axis=1)
    lighter = grey[:, :, 1:] > grey[:, :, :-1] + _STEP
    return [each.tobytes() for each in np.packbits(lighter.reshape(len(images), -1), axis=1)]


def block(
    dataset: PackedDataset,
    notes: Iterable[str],
    left_out: Mapping[str, str],
    skipped: Counter[str],
    rejected: Mapping[str, str],
    odd: Oddities,
) -> Iterator[str]:
    """Yield the lines: what was packed, where classes and splits come from, what is odd."""
    channels, height, width = dataset.image_shape
    yield (
        f"packed {len(dataset.train)} images to train on and {len(dataset.validation)} to validate "
        f"with, {sizes.told(width, height)} in {COLOUR_OF[channels]} each, "
        f"{len(dataset.class_names)} classes, {len(rejected)} rejected"
    )
    yield from _rows(_class_rows(dataset))
    yield from _rows(("", note) for note in notes)
    for reason, names in _by_reason(left_out):
        yield _row("left out", f"{_some(names)} {reason}")
    if skipped:
        yield _row("skipped", endings(skipped))
    for reason, names in _by_reason(rejected):
        yield _row("rejected", f"{_some(names)}: {reason}")
    if odd.copies:
        yield _row("look at", f"{_some(odd.copies)} like another one")
    yield from _rows(_enough(len(dataset.train)))


def _rows(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    return (_row(label, text) for label, text in rows)


def _row(label: str, text: str) -> str:
    return f"  {label:<10} {text}"


def _class_rows(dataset: PackedDataset) -> Iterator[tuple[str, str]]:
    labels, names = dataset.train.labels, dataset.class_names
    if labels is None:
        yield "classes", "none"
        return
    counts = np.bincount(labels, minlength=len(names)).tolist()
    pairs = [f"{name} {count:,}" for name, count in zip(names, counts, strict=True)]
    more = f" and {len(pairs) - _CLASSES} more" if len(pairs) > _CLASSES else ""
    yield "classes", f"{', '.join(pairs[:_CLASSES])}{more} (to train on)"
    few = [name for name, count in zip(names, counts, strict=True) if count < FEW_OF_A_CLASS]
    if few:
        yield "few", f"{', '.join(few[:_CLASSES])}: under {FEW_OF_A_CLASS} images each"


def _enough(count: int) -> Iterator[tuple[str, str]]:
    if count < FAR_TOO_FEW:
        yield "few", f"{count} images to train on are learned by heart: hundreds are needed"
    elif count < FEW:
        yield "few", f"{count:,} images to train on are soon known: train.augment: ada may help"


def reasons(found: Mapping[str, str]) -> str:
    """The commonest reasons in a line, each with the images that it is of."""
    by_reason = _by_reason(found)
    told = "; ".join(
        f"{names[0] if len(names) == 1 else _some(names)}: {reason}"
        for reason, names in by_reason[:_NAMES]
    )
    return told + ("; ..." if len(by_reason) > _NAMES else "")


def none_readable(shown: str, rejected: Mapping[str, str]) -> SourceError:
    """Refuse images of which none can be read."""
    bad = len(rejected)
    return SourceError(f"{shown}: {bad} of {bad} images cannot be read: {reasons(rejected)}.")


def _by_reason(found: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    reasons: dict[str, list[str]] = {}
    for name, reason in sorted(found.items()):
        reasons.setdefault(reason, []).append(name)
    most_first = sorted(reasons.items(), key=lambda item: -len(item[1]))
    return most_first[:_CLASSES]


def _some(names: Sequence[str]) -> str:
    """`3 images (a.png, b.png, c.png)`, `40 images (a.png, b.png, c.png, ...)`."""
    more = ", ..." if len(names) > _NAMES else ""
    which = ", ".join(names[:_NAMES]) + more
    return f"{len(names):,} image{'s' if len(names) != 1 else ''} ({which})"

"""What the folders of a set of images mean: splits, classes, and who is held out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from monge.data.packed import SplitName
from monge.errors import SourceError

TRAIN_NAMES = frozenset({"train", "training"})
VALIDATION_NAMES = frozenset({"test", "val", "valid", "validation"})


@dataclass(frozen=True)
class Layout:
    """`labels` int64 [n] or None without classes; `held_out` bool [n]: true for validation."""

    class_names: list[str]
    labels: NDArray[np.int64] | None
    held_out: NDArray[np.bool_]

    def rows(self, split: SplitName) -> NDArray[np.int64]:
        """Which images are in a split, in their order."""
        return np.flatnonzero(self.held_out == (split == "validation")).astype(np.int64)


def organise(paths: Sequence[str], validation_fraction: float, seed: int) -> Layout:
    """Read splits and classes from relative paths; hold a share out where there are no splits.

    One common leading folder is looked through. Top-level folders that are all called train,
    training or test, val, valid, validation are splits, and respected when there are both kinds.
    The next folder is the class; images that lie in fewer than two, or beside one, have none.
    Raises SourceError for fewer than two images.
    """
    if len(paths) < 2:
        raise SourceError(
            f"{len(paths)} usable image: two are needed, one to train on and one to judge by. "
            "Add images, or set prepare.path."
        )
    parts = [PurePosixPath(path).parts for path in paths]
    if len({path[0] for path in parts}) == 1 and not _is_split(parts[0][0]):
        parts = [path[1:] for path in parts]
    tops = {path[0] if len(path) > 1 else "" for path in parts}
    held_out = None
    if all(_is_split(top) for top in tops):
        marks = np.array([path[0].casefold() in VALIDATION_NAMES for path in parts])
        held_out = marks if marks.any() and not marks.all() else None
        parts = [path[1:] for path in parts]
    folders = [path[0] if len(path) > 1 else "" for path in parts]
    class_names = sorted(set(folders))
    labels = None
    if len(class_names) < 2 or "" in class_names:
        class_names = []
    else:
        numbers = {name: number for number, name in enumerate(class_names)}
        labels = np.array([numbers[folder] for folder in folders], np.int64)
    if held_out is None:
        names = ["/".join(path) for path in parts]
        held_out = _hold_out(names, labels, validation_fraction, seed)
    return Layout(class_names, labels, held_out)


def _is_split(name: str) -> bool:
    return name.casefold() in TRAIN_NAMES | VALIDATION_NAMES


def _hold_out(
    names: Sequence[str], labels: NDArray[np.int64] | None, fraction: float, seed: int
) -> NDArray[np.bool_]:
    """Pick `fraction` of each class by a keyed hash of the name, at least 1 and not all.

    A hash and not a random generator, so that other versions of NumPy choose alike.
    """
    groups = [0] * len(names) if labels is None else labels.tolist()
    shares = _shares(Counter(groups), fraction)
    key = seed.to_bytes(8, "little")
    ranked = sorted(
        range(len(names)),
        key=lambda row: hashlib.blake2b(names[row].encode(), digest_size=16, key=key).digest(),
    )
    held_out = np.zeros(len(names), np.bool_)
    for row in ranked:
        if shares[groups[row]]:
            shares[groups[row]] -= 1
            held_out[row] = True
    return held_out


def _shares(counts: Counter[int], fraction: float) -> dict[int, int]:
    """How many of each class are held out: largest remainders, leaving each class one to train."""
    total = sum(counts.values())
    wanted = min(max(1, round(fraction * total)), total - 1)
    shares = {group: min(int(fraction * count), count - 1) for group, count in counts.items()}
    by_remainder = sorted(counts, key=lambda group: (-(fraction * counts[group] % 1), group))
    for group in by_remainder:
        if sum(shares.values()) < wanted and counts[group] - shares[group] > 1:
            shares[group] += 1
    if not any(shares.values()):  # every class has one image
        shares[by_remainder[0]] = 1
    return shares

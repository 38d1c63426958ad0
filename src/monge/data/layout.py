"""Reads splits, classes, and who is held out, from the folders of a set of images."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from monge.data import additions
from monge.data.folders import Meaning, meaning
from monge.data.packed import SplitName
from monge.errors import SourceError

_DIGEST_BYTES = 16

FEW_OF_A_CLASS = 20
"""A class with fewer training images is hardly drawn, and none is judged by its classes."""


@dataclass(frozen=True)
class Layout:
    """`labels` int64 [n] or None without classes; `held_out` bool [n]: true for validation.

    `left_out` has the places that are in neither split, each with its reason; `notes` are sentences
    for a person.
    """

    class_names: list[str]
    labels: NDArray[np.int64] | None
    held_out: NDArray[np.bool_]
    left_out: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def rows(self, split: SplitName) -> NDArray[np.int64]:
        """Find the images of a split, in their order."""
        chosen = self.held_out == (split == "validation")
        chosen[list(self.left_out)] = False
        return np.flatnonzero(chosen).astype(np.int64)


def organise(
    paths: Sequence[str],
    validation_fraction: float,
    seed: int,
    *,
    classes: str = "folders",
    given: Mapping[str, str] | None = None,
) -> Layout:
    """Read splits and classes from relative paths; hold a share out where there are no splits.

    `given` has the classes that a file beside the images names; what is not in it is left out.
    With `classes` "none" there are none. What was added later is laid out like the rest, and leaves
    who is held out of the rest as it was. Raises SourceError for fewer than two images.
    """
    found = _meant(paths, classes == "folders", given)
    _drop_untrained(found)
    kept = [row for row in range(len(paths)) if row not in found.left_out]
    if any(found.held_out) and not any(found.held_out[row] for row in kept):
        for row in kept:
            found.held_out[row] = None
        found.notes.append("no image to judge by has a class that is trained on")
    if len(kept) < 2:
        raise SourceError(
            f"{len(kept)} usable image: two are needed, one to train on and one to judge by. "
            "Add images, or set prepare.path."
        )
    named = {found.classes[row] for row in kept}
    class_names = sorted(name for name in named if name is not None) if len(named) > 1 else []
    if len(class_names) == len(kept) and all(found.held_out[row] is None for row in kept):
        # One of them is held out, and its class would be drawn without having been learned.
        class_names = []
        found.notes.append("each class has a single image: those are no classes then")
    labels = np.zeros(len(paths), np.int64)
    numbers = {name: number for number, name in enumerate(class_names)}
    for row in kept:
        labels[row] = numbers.get(found.classes[row] or "", 0)
    held_out = np.array([bool(each) for each in found.held_out])
    if all(found.held_out[row] is None for row in kept):
        came = [additions.split(paths[row])[0] for row in kept]
        names = [found.rest[row] for row in kept]
        groups = labels[kept] if class_names else None
        held_out[kept] = _hold_out_by_addition(came, names, groups, validation_fraction, seed)
        found.notes.append(f"{validation_fraction:g} of each class is held out to judge by")
    return Layout(
        class_names, labels if class_names else None, held_out, found.left_out, found.notes
    )


def _meant(paths: Sequence[str], classes: bool, given: Mapping[str, str] | None) -> Meaning:
    """Read the folders' meaning, or that of classes from `given`."""
    if given and not any(path in given for path in paths):
        given = None  # it is of something else
    within = [additions.split(path)[1] for path in paths]
    found = meaning(within, classes=classes and not given)
    if given and classes:
        found.classes = [given.get(path) for path in paths]
        for row, name in enumerate(found.classes):
            if name is None:
                found.left_out[row] = "not in dataset.json"
        found.notes.append("the classes are those in dataset.json")
    return found


def _drop_untrained(found: Meaning) -> None:
    """Leave out the classes that only the held-out split has: nothing could be learned of them."""
    trained = {
        name for row, name in enumerate(found.classes)
        if not found.held_out[row] and row not in found.left_out
    }  # fmt: skip
    for row, name in enumerate(found.classes):
        if name is not None and name not in trained and row not in found.left_out:
            found.left_out[row] = f"of the class {name}, which has no image to train on"


def _hold_out_by_addition(
    came: Sequence[str],
    names: Sequence[str],
    labels: NDArray[np.int64] | None,
    fraction: float,
    seed: int,
) -> NDArray[np.bool_]:
    """Hold out a share of the first images, and of what was added to them later.

    Whoever is held out stays so when more is added. The images that were there first, those of the
    first addition and the first ones of a class have the exact share among themselves; each later
    image has it as its chance, by its own hash, so that many small additions have it together.
    """
    held_out = np.zeros(len(names), np.bool_)
    of = [0] * len(names) if labels is None else labels.tolist()
    known: set[int] = set()
    for addition in sorted(set(came), key=additions.number):
        rows = [row for row, its in enumerate(came) if its == addition]
        is_first = additions.number(addition) <= 1
        first = [row for row in rows if is_first or of[row] not in known]
        known |= {of[row] for row in rows}
        own = np.array([of[row] for row in first])
        held_out[first] = _hold_out([names[row] for row in first], own, fraction, seed)
        for row in set(rows) - set(first):
            drawn = _digest(f"{addition}/{names[row]}", seed)
            held_out[row] = int.from_bytes(drawn, "big") < fraction * 2 ** (8 * _DIGEST_BYTES)
    return held_out


def _digest(name: str, seed: int) -> bytes:
    """Hash a name with a key. No random generator, so that other versions of NumPy choose alike."""
    key = seed.to_bytes(8, "little")
    return hashlib.blake2b(name.encode(), digest_size=_DIGEST_BYTES, key=key).digest()


def _hold_out(
    names: Sequence[str], labels: NDArray[np.int64], fraction: float, seed: int
) -> NDArray[np.bool_]:
    """Pick `fraction` of each class by a keyed hash of the name, at least 1 and not all."""
    groups = labels.tolist()
    shares = _shares(Counter(groups), fraction)
    held_out = np.zeros(len(names), np.bool_)
    for row in sorted(range(len(names)), key=lambda row: _digest(names[row], seed)):
        if shares[groups[row]]:
            shares[groups[row]] -= 1
            held_out[row] = True
    return held_out


def _shares(counts: Counter[int], fraction: float) -> dict[int, int]:
    """Share out those held out by class: largest remainders, leaving each class one to train."""
    total = sum(counts.values())
    wanted = min(max(1, round(fraction * total)), total - 1)
    shares = {group: min(int(fraction * count), count - 1) for group, count in counts.items()}
    by_remainder = sorted(counts, key=lambda group: (-(fraction * counts[group] % 1), group))
    for group in by_remainder:
        if sum(shares.values()) < wanted and counts[group] - shares[group] > 1:
            shares[group] += 1
    return shares

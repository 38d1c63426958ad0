"""The labels of a conditional generator: image i of seed s has one, unless the caller chooses.

Drawn by the generator that draws the latents (docs/reference/latents.md), from a counter apart from
theirs, in proportion to the training images': the same label everywhere for the same (s, i).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monge.errors import InputError
from monge.normals import philox

Labels = NDArray[np.int64]
Wanted = int | np.integer[Any] | str | Sequence[int | str] | NDArray[np.integer[Any]]
"""A label or the name of its class, for all images or for each."""

MAX_LABELS = 10_000

_DOMAIN = 1  # the counter's last word; the latents' is 0
_WORD = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)


def drawn(seed: int, first: int, count: int, shares: Sequence[float]) -> Labels:
    """Labels of images first .. first + count − 1 of a seed: int64 [count].

    Label k where (word + ½) / 2^32 lies in the k-th of the intervals that `shares` cut 0..1 into.
    Raises InputError for a seed or an index outside 0 .. 2^64 − 1.
    """
    if not (0 <= seed < 2**64 and first >= 0 and count >= 0 and first + count <= 2**64):
        raise InputError("a seed and the images' indices must lie from 0 to 2^64 - 1.")
    indices = np.arange(count, dtype=np.uint64)
    if count:
        indices += np.uint64(first)
    return drawn_of(np.full(count, seed, np.uint64), indices, shares)


def drawn_of(
    seeds: NDArray[np.uint64], indices: NDArray[np.uint64], shares: Sequence[float]
) -> Labels:
    """The label of image indices[r] of seeds[r] for each row r: int64 [rows]."""
    counter = (0, indices & _LOW, indices >> _WORD, _DOMAIN)
    word = philox(counter, (seeds & _LOW, seeds >> _WORD))[0]
    places = (word.astype(np.float64) + 0.5) / 4294967296.0
    ends = np.cumsum(np.asarray(shares, np.float64))  # added one after the other, in this order
    found = np.searchsorted(ends, places, side="right")
    last = np.flatnonzero(np.asarray(shares) > 0.0)[-1]  # where the ends' rounding stops below 1
    capped: Labels = np.minimum(found, last).astype(np.int64)
    return capped


def chosen(wanted: Wanted, count: int, shares: Sequence[float], classes: Sequence[str]) -> Labels:
    """Turn what a caller asks for into int64 [count]: one label for all, or one for each.

    A label is a number, or a name in `classes`. Raises InputError.
    """
    if not shares:
        raise InputError("this generator takes no labels: it was trained without them.")
    numbers = {_same(name): number for number, name in enumerate(classes)}
    if isinstance(wanted, str) or np.ndim(wanted) == 0:
        return np.full(count, _number(wanted, len(shares), numbers), np.int64)
    asked = list(wanted)  # type: ignore[arg-type]
    if len(asked) != count:
        raise InputError(f"{count} images need {count} labels, or one for all: got {len(asked)}.")
    return np.array([_number(one, len(shares), numbers) for one in asked], np.int64)


def named(text: str, shares: Sequence[float], classes: Sequence[str]) -> int:
    """The label that somebody has typed: the name of its class or, if none has it, its number.

    Raises InputError for a number that is written otherwise in the name of another class: `1` where
    classes are called 001, 002 and so on.
    """
    wanted: int | str = text
    if _same(text) not in map(_same, classes) and _is_number(text):
        wanted = int(text)
        alike = [name for name in classes if _is_number(name) and int(name) == wanted]
        if alike and not (wanted < len(classes) and classes[wanted] in alike):
            other = f", and label {wanted} is {classes[wanted]!r}" if wanted < len(classes) else ""
            raise InputError(
                f"{text!r} is not the name of a class: there is {alike[0]!r}{other}. Write the "
                "name."
            )
    return int(chosen(wanted, 1, shares, classes)[0])


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _same(name: str) -> str:
    """A name in one form: letters with accents can be typed as one character or as two."""
    return unicodedata.normalize("NFC", name)


def checked(labels: Any, count: int, shares: Sequence[float]) -> Labels | None:
    """Labels as the network takes them: int64 [count], each one that exists.

    None for a generator without, which may be given none. Raises InputError.
    """
    if not shares:
        if labels is None:
            return None
        raise InputError("this generator takes no labels: it was trained without them.")
    if labels is None:
        raise InputError(f"labels are needed: {count} whole numbers from 0 to {len(shares) - 1}.")
    labels = np.asarray(labels)
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise InputError(
            f"labels must be whole numbers of shape [{count}], got {labels.dtype} "
            f"{list(labels.shape)}."
        )
    if count and not (labels.min() >= 0 and labels.max() < len(shares)):
        raise InputError(f"labels must be from 0 to {len(shares) - 1}.")
    return np.ascontiguousarray(labels, np.int64)


def _number(one: object, count: int, numbers: Mapping[str, int]) -> int:
    if isinstance(one, str):
        if _same(one) in numbers:
            return numbers[_same(one)]
        raise InputError(f"no class is called {one[:80]!r}. There are: {_listed(list(numbers))}.")
    if isinstance(one, int | np.integer) and not isinstance(one, bool):
        if 0 <= one < count:
            return int(one)
        raise InputError(f"labels are from 0 to {count - 1}, got {one}.")
    raise InputError(f"a label is a whole number or the name of a class, got {one!r:.80}.")


def _listed(classes: Sequence[str]) -> str:
    names = ", ".join(classes[:20])
    return names if len(classes) <= 20 else f"{names} and {len(classes) - 20} more"

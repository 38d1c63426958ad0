"""Reads the names of folders for the images in them: a split, a class, or neither.

People lay their images out in many ways: folders around everything, splits under many names,
classes below or above them, a page or a shard between, a logo beside it all. From the outside in:

1. Folders that hold everything are looked through, and a few images beside one are left out.
2. Folders named as splits are splits, when there are some to train on and some to judge by. Others
   beside them are left out; `unlabeled` ones are only where the rest has no classes.
3. The next folder is the class; where the same names return below most of them, the folder below.
   A few images beside the classes are left out, and where there are many there are no classes.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from monge.data.split_names import is_unlabelled, side_of, split_of

STRAY_SHARE = 0.05
"""Images beside folders are strays where they are at most this share of all, or a single one."""

# Folders of other views of the same images, beside which there is one with the images.
_VIEWS = re.compile(
    r"masks?|labels?|annotations?|segmentations?|depths?|edges?|thumb(?:nail)?s?|previews?|originals?"
)

Parts = tuple[str, ...]


@dataclass
class Meaning:
    """The meaning that was read, by the place of a path: None where the folders do not say."""

    classes: list[str | None]
    held_out: list[bool | None]
    rest: list[str]
    """The path within its split, from which who is held out is chosen."""
    left_out: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """The decisions that a person should know of, a sentence each."""


def meaning(paths: Sequence[str], *, classes: bool = True) -> Meaning:
    """Read the folders of relative paths; without `classes` splits alone."""
    parts = {row: PurePosixPath(path).parts for row, path in enumerate(paths)}
    found = Meaning([None] * len(paths), [None] * len(paths), list(paths))
    parts = _looked_through(parts, found)
    parts = _split(parts, found)
    parts = _looked_through(parts, found)
    for row, rest in parts.items():
        found.rest[row] = "/".join(rest)
    if classes:
        _name_classes(parts, found)
    return found


def _looked_through(parts: dict[int, Parts], found: Meaning) -> dict[int, Parts]:
    """Without the folders that hold everything."""
    while True:
        parts = _without_small_neighbours(parts, found)
        tops = {each[0] for each in parts.values() if len(each) > 1}
        if len(tops) != 1 or split_of(next(iter(tops))) is not None:
            return parts
        strays = [row for row, each in parts.items() if len(each) == 1]
        if not _are_strays(len(strays), len(parts)):
            return parts
        _leave_out(strays, f"beside the folder {next(iter(tops))}, which holds all others", found)
        parts = {row: each[1:] for row, each in parts.items() if len(each) > 1}
        found.notes.append(f"the folder {next(iter(tops))} holds everything and is looked through")


def _without_small_neighbours(parts: dict[int, Parts], found: Meaning) -> dict[int, Parts]:
    """Leave out a few images in folders beside the one that has both splits in it."""
    counts = Counter(each[0] for each in parts.values() if len(each) > 1)
    if len(counts) < 2:
        return parts
    main = counts.most_common(1)[0][0]
    kinds = {split_of(each[1]) for each in parts.values() if each[0] == main and len(each) > 2}
    others = [row for row, each in parts.items() if each[0] != main]
    if split_of(main) is not None or not {True, False} <= kinds:
        return parts
    if not _are_strays(len(others), len(parts)):
        return parts
    _leave_out(others, f"beside the folder {main}, which has the splits", found)
    return {row: each for row, each in parts.items() if each[0] == main}


def _split(parts: dict[int, Parts], found: Meaning) -> dict[int, Parts]:
    """Take the splits out of the paths: the outermost folder's, or the next one's everywhere."""
    for depth in (0, 1):
        kinds = {
            row: split_of(each[depth]) if len(each) > depth + 1 else None
            for row, each in parts.items()
        }
        both = {True, False} <= set(kinds.values())
        if both and (depth == 0 or None not in kinds.values()):
            return _by_split(parts, kinds, depth, found)
    tops = {each[0] if len(each) > 1 else "" for each in parts.values()}
    loose = [row for row, each in parts.items() if len(each) == 1]
    if [split_of(top) is None for top in tops - {""}] == [False] and _are_strays(
        len(loose), len(parts)
    ):
        _leave_out(loose, "beside the only split", found)
        return {row: each[1:] for row, each in parts.items() if len(each) > 1}
    for top in sorted(tops):
        if split_of(top) is not None:
            found.notes.append(f"{top} is taken for a class: its other split is missing")
    return parts


def _by_split(
    parts: dict[int, Parts], kinds: dict[int, bool | None], depth: int, found: Meaning
) -> dict[int, Parts]:
    within: dict[int, Parts] = {}
    others: dict[str, list[int]] = defaultdict(list)
    for row, each in parts.items():
        if kinds[row] is None:
            others[each[0] if len(each) > 1 else ""].append(row)
            continue
        found.held_out[row] = kinds[row]
        side = side_of(each[depth])
        within[row] = (*each[:depth], *([side] if side else []), *each[depth + 1 :])
    labelled = any(len(each) > 1 for each in within.values())
    for top, rows in sorted(others.items()):
        if is_unlabelled(top) and not labelled:
            for row in rows:
                found.held_out[row] = False
                within[row] = parts[row][1:]
        else:
            _leave_out(rows, f"in {top}, which is no split" if top else "beside the splits", found)
    within = _without_unlabelled(within, {row: parts[row][depth] for row in within}, found)
    names = Counter((kinds[row], parts[row][depth]) for row in within if kinds[row] is not None)
    for kind, role in ((False, "to train on"), (True, "to judge by")):
        mine = ", ".join(sorted({name for (of, name) in names if of is kind}))
        if mine:
            found.notes.append(f"images {role} are those in {mine}")
    return within


def _without_unlabelled(
    within: dict[int, Parts], splits: dict[int, str], found: Meaning
) -> dict[int, Parts]:
    """Leave held-out splits out that have no folders where those to train on have classes.

    Contests give their test images so. Where no other is left, a share is held out instead.
    """
    trained = [each for row, each in within.items() if not found.held_out[row]]
    tops = {each[0] for each in trained if len(each) > 1}
    if len(tops) < 2 or not _are_strays(sum(len(each) == 1 for each in trained), len(trained)):
        return within
    labelled = {splits[row] for row, each in within.items() if len(each) > 1}
    bare = [row for row in within if found.held_out[row] and splits[row] not in labelled]
    for name in sorted({splits[row] for row in bare}):
        rows = [row for row in bare if splits[row] == name]
        _leave_out(rows, f"in {name}, which has no classes as those to train on have", found)
    within = {row: each for row, each in within.items() if row not in found.left_out}
    if not any(found.held_out[row] for row in within):
        found.held_out = [None] * len(found.held_out)
    return within


def _name_classes(parts: dict[int, Parts], found: Meaning) -> None:
    loose = [row for row, each in parts.items() if len(each) == 1]
    tops = {each[0] for each in parts.values() if len(each) > 1}
    if len(tops) < 2:
        return
    if not _are_strays(len(loose), len(parts)):
        found.notes.append(
            f"{len(loose)} images lie beside the folders {_listed(tops)}: those are no classes then"
        )
        return
    _leave_out(loose, "beside the folders of the classes", found)
    inside = {row: each for row, each in parts.items() if len(each) > 1}
    level = 1 if _returns_below(inside) else 0
    if level:
        found.notes.append("the classes are the folders below: their names return in most others")
    for row, each in inside.items():
        found.classes[row] = each[level]
    views = {top for top in tops if _VIEWS.fullmatch(top.casefold())}
    if views and not level:
        found.notes.append(
            f"{_listed(tops)} are taken for classes: if they are not, name one in prepare.path"
        )
    _unite(found)


def _unite(found: Meaning) -> None:
    """Take names for one class that look alike, and held-out ones that differ in case alone.

    An accent is one character or two, by the system that wrote it (Unicode's forms NFC and NFD).
    """
    forms: dict[str, set[str]] = defaultdict(set)
    for name in {each for each in found.classes if each is not None}:
        forms[unicodedata.normalize("NFC", name).strip() or name].add(name)
    meant = {name: one for one, names in forms.items() if len(names) > 1 for name in names}
    pairs = zip(found.classes, found.held_out, strict=True)
    trained = {
        meant.get(name, name) for name, held_out in pairs if name is not None and not held_out
    }
    by_case: dict[str, list[str]] = defaultdict(list)
    for name in trained:
        by_case[name.casefold()].append(name)
    for name in set(forms) - trained:
        if len(by_case[name.casefold()]) == 1:
            meant |= dict.fromkeys(forms[name], by_case[name.casefold()][0])
    for one in sorted(set(meant.values())):
        found.notes.append(f"{one} is written in several ways, which are taken for one class")
    found.classes = [name if name is None else meant.get(name, name) for name in found.classes]


def _returns_below(parts: dict[int, Parts]) -> bool:
    """Tell whether the second folders are the classes: there everywhere, several, and alike."""
    below: dict[str, set[str]] = defaultdict(set)
    for each in parts.values():
        if len(each) < 3:
            return False
        below[each[0]].add(each[1])
    names = set().union(*below.values())
    alike = sum(len(some & names) for some in below.values()) / (len(below) * len(names))
    return len(names) >= 2 and alike > 0.5


def _are_strays(count: int, total: int) -> bool:
    return count <= max(1, int(STRAY_SHARE * total)) and total - count >= 4 * count


def _leave_out(rows: Sequence[int], why: str, found: Meaning) -> None:
    for row in rows:
        found.left_out[row] = why


def _listed(names: set[str]) -> str:
    few = sorted(names)[:5]
    return ", ".join(few) + (f" and {len(names) - 5} more" if len(names) > 5 else "")

"""Places new images among those that are there, so that nothing that was settled changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from monge.data import additions
from monge.data.layout import Layout, organise
from monge.errors import InputError, SourceError
from monge.params import PrepareParams


@dataclass(frozen=True)
class Census:
    """The numbers of images of a version: to train on, held out, and of each class of both."""

    images: int
    held_out: int
    classes: dict[str, int]


def census(names: Sequence[str], labels: Mapping[str, str], params: PrepareParams) -> Census:
    """Count images as `prepare` would pack them; of fewer than two there is nothing to pack."""
    layout = _layout(names, labels, params)
    if layout is None:
        return Census(len(names), 0, {})
    counts = Counter(each for each in _classes(layout, len(names)) if each is not None)
    return Census(
        len(names) - len(layout.left_out),
        len(layout.rows("validation")),
        dict(sorted(counts.items())),
    )


def place(
    there: Sequence[str],
    new: Sequence[str],
    tag: str,
    labels: Mapping[str, str],
    params: PrepareParams,
    into: str = "",
) -> dict[str, str]:
    """Find a place within the addition `tag` for each new image, by its name.

    Images that are there keep class and split, and no new one is left out. `into` is the folder
    that a person asks for. Raises InputError where there is no such way.
    """  # fmt: skip
    before, problem = _layout(there, labels, params), ""
    known = set() if before is None else set(before.class_names)
    found: list[tuple[int, dict[str, str]]] = []
    for way in _ways(there, new, into):
        placed = {name: way(name) for name in new}
        later = [additions.name(tag, rest) for rest in placed.values()]
        if len(set(later)) < len(later):
            continue
        after = _layout([*there, *later], labels, params)
        trouble = _trouble(there, later, before, after)
        if trouble is None:
            classes = [] if after is None else _classes(after, len(there) + len(new))[len(there) :]
            found.append((sum(each in known for each in classes), placed))
        problem = problem or trouble or ""
    if found:  # that in which most are of a class that is there
        return max(found, key=lambda each: each[0])[1]
    raise InputError(
        f"{len(new)} images cannot be laid out beside those that are there: {problem}. Put them "
        "into folders like theirs, or name the folder with --into (a class, or train)."
    )


def _ways(there: Sequence[str], new: Sequence[str], into: str) -> Iterator[Callable[[str], str]]:
    """Yield the ways to place a name: as it is, below what wraps the old ones, unwrapped."""
    if into:
        yield lambda name: f"{into.strip('/')}/{name}"
        return
    around = _wrapper([additions.split(name)[1] for name in there])
    own = _wrapper(new)
    for prefix in dict.fromkeys(("", around)):
        for strip in dict.fromkeys(("", own)):
            yield lambda name, p=prefix, s=strip: p + name.removeprefix(s)  # type: ignore[misc]


def _wrapper(names: Sequence[str]) -> str:
    """The folders that hold all of these, with a slash at the end; none for no names."""
    if not names:
        return ""
    parents = [PurePosixPath(name).parent.parts for name in names]
    shared = []
    for level in zip(*parents, strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return "/".join(shared) + "/" if shared else ""


def _layout(
    names: Sequence[str], labels: Mapping[str, str], params: PrepareParams
) -> Layout | None:
    try:
        return organise(
            names, params.validation_fraction, params.seed, classes=params.classes, given=labels
        )
    except SourceError:
        return None


def _classes(layout: Layout, count: int) -> list[str | None]:
    """The class of each image, None where it has none or is left out."""
    if layout.labels is None:
        return [None] * count
    named = [layout.class_names[number] for number in layout.labels.tolist()]
    return [None if row in layout.left_out else name for row, name in enumerate(named)]


def _trouble(
    there: Sequence[str], later: Sequence[str], before: Layout | None, after: Layout | None
) -> str | None:
    """Say what would go wrong; None where nothing would."""
    if after is None:
        return None if not there else "they leave fewer than two usable images"
    count = len(there)
    gone = [row for row in after.left_out if row >= count]
    if gone:
        rest = additions.split(later[gone[0] - count])[1]
        return f"{rest} would be left out, {after.left_out[gone[0]]}"
    if before is None:
        return None
    was, now = _classes(before, count), _classes(after, count + len(later))
    for row, name in enumerate(there):
        if (row in before.left_out) != (row in after.left_out):
            return f"{name} would be left out, {after.left_out.get(row, 'as it was')}"
        if was[row] not in (None, now[row]):
            return f"{name} would be of the class {now[row]}, and is of {was[row]}"
        if before.held_out[row] != after.held_out[row]:
            return f"{name} would change between the splits"
    return None

"""Keeps a name to generators of one kind: one size, one colour, and one set of classes.

Checked before a training, which may take a night, and again before anything is registered.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from monge.alpha import COLOURS
from monge.contract import Contract
from monge.errors import InputError
from monge.registry.models import Registry, Version

KIND_TAG = "monge.kind"


@dataclass(frozen=True)
class Kind:
    """The kind of a generator: (height, width, channels), classes, and whether it takes labels."""

    image_shape: tuple[int, int, int]
    classes: tuple[str, ...] = ()
    takes_labels: bool = False

    @classmethod
    def of(cls, contract: Contract) -> Kind:
        """Read it from a generator file's contract."""
        return cls(contract.image_shape, contract.classes, bool(contract.label_shares))

    def to_tag(self) -> str:
        """Write it as a version's tag."""
        return json.dumps([list(self.image_shape), list(self.classes), self.takes_labels])

    def __str__(self) -> str:
        height, width, channels = self.image_shape
        drawn = f"{width}x{height} {COLOURS[channels]} images"
        return f"{drawn} of {', '.join(self.classes)}" if self.classes else drawn


def kind_of(version: Version) -> Kind | None:
    """Read a version's kind; None when its tag is missing or damaged."""
    try:
        shape, classes, takes_labels = json.loads(version.tags[KIND_TAG])
        height, width, channels = shape
    except (KeyError, ValueError, TypeError):
        return None
    whole = all(type(side) is int and side > 0 for side in shape)
    named = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    if not (whole and channels in COLOURS and named and isinstance(takes_labels, bool)):
        return None
    return Kind((height, width, channels), tuple(classes), takes_labels)


def require_kind(registry: Registry, kind: Kind) -> None:
    """Raise InputError when the name's champion, or its newest version, draws other images."""
    versions = registry.versions()
    champions = [version for version in versions if "champion" in version.aliases]
    known = next(iter([*champions, *versions[-1:]]), None)
    there = None if known is None else kind_of(known)
    if known is None or there is None or _takes_the_place(kind, there):
        return
    raise InputError(
        f"{registry.name} version {known.number} draws {there}, and these are {kind}. "
        f"Take another name for them: promote.name={_free(registry)}"
    )


def _takes_the_place(kind: Kind, there: Kind) -> bool:
    """Tell whether applications of the one that is there can take the other.

    Labels are part of what an application asks for. Where none are taken, a class more or less is
    a set that grew, and no class in common is another set.
    """
    if kind.image_shape != there.image_shape:
        return False
    if there.takes_labels:
        return kind == there
    return not (kind.classes and there.classes) or bool(set(kind.classes) & set(there.classes))


def _free(registry: Registry) -> str:
    """The first of NAME-2, NAME-3, … that nothing is called."""
    taken = set(registry.names())
    return next(
        name for n in range(2, len(taken) + 3) if (name := f"{registry.name}-{n}") not in taken
    )

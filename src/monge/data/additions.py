"""Additions: images that came later, each set of them in one piece beside those that were there.

    <prepare.path>/additions/0001-3f2a9c01d4e5.tar     beside the images of a folder
    additions/0001-3f2a9c01d4e5/cat/7.png              within an archive

Either way an image is called `additions/0001-3f2a9c01d4e5/cat/7.png`: what comes after the addition
is laid out as the images that were there, and names of two additions never meet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from monge.params import PrepareParams

if TYPE_CHECKING:
    from monge.data.listing import Item, Source

FOLDER = "additions"

_TAG = r"\d{4,}-[0-9a-f]{12}"
_FILE = re.compile(rf"{FOLDER}/({_TAG})\.tar")
_IMAGE = re.compile(rf"{FOLDER}/({_TAG})/(.+)", re.S)


def of_file(relative: str) -> str | None:
    """Give the addition that a file of this path within the images holds, if it holds one."""
    found = _FILE.fullmatch(relative)
    return found and found[1]


def name(addition: str, rest: str) -> str:
    """Name an image of an addition; of none (""), as it is."""
    return f"{FOLDER}/{addition}/{rest}" if addition else rest


def split(path: str) -> tuple[str, str]:
    """Part an image's path into its addition, "" for none, and where it lies among the others."""
    found = _IMAGE.fullmatch(path)
    return (found[1], found[2]) if found else ("", path)


def number(addition: str) -> int:
    """Give the place of an addition in the order in which they came: 1 is the first, 0 is none."""
    return int(addition.partition("-")[0] or 0)


def images(source: Source, params: PrepareParams, root: Path) -> Iterator[Item]:
    """Yield the images of a folder's additions, oldest first. Raises SourceError."""
    from monge.data.archives import archive

    for addition in source.description["additions"]:
        path = f"{params.path}/{FOLDER}/{addition}.tar"
        within = archive(params.model_copy(update={"path": path}), root)
        for rest, content in within.items:
            yield name(addition, rest), content
        source.skipped.update(within.skipped)

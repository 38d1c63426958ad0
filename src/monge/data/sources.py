"""Where images come from: the digits that scikit-learn ships, a folder, an archive, torchvision."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from monge.data.decode import Encoded, Unreadable, image_extensions
from monge.errors import SourceError
from monge.params import PrepareParams

Item = tuple[str, Encoded]  # relative path with "/", and what is to be decoded


@dataclass
class Source:
    """A stream of images. `items` runs once; after it, `skipped` counts the files that are none.

    `titles` replaces class folders that are numbers ("0003") by names, where a dataset has them.
    """

    description: dict[str, Any]
    items: Iterator[Item]
    count: int | None = None
    titles: list[str] = field(default_factory=list)
    skipped: int = 0


def open_source(params: PrepareParams, root: Path, downloads: Path) -> Source:
    """Open the source that `params` name. Raises SourceError, ServiceError or MissingExtra."""
    if params.source == "digits":
        return _digits()
    if params.source == "folder":
        return _folder(params, root)
    if params.source == "archive":
        from monge.data.archives import archive

        return archive(params, root)
    from monge.data.torchvision_sets import torchvision_set

    return torchvision_set(params.source, downloads)


def shown_name(path: Path, root: Path) -> str:
    """Name a path as manifests show it: within the project relative, else its last part only."""
    path, root = path.absolute(), root.absolute()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def clean_name(name: str) -> str:
    """Rid a file's name of characters that would break a terminal or a JSON file."""
    return name if name.isprintable() else name.encode("unicode_escape").decode("ascii")


def is_hidden(path: PurePosixPath) -> bool:
    """Tell files that a system, not a person, put there."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def is_image_name(path: PurePosixPath) -> bool:
    """Tell whether the ending is one of an image format that is read."""
    return path.suffix.lower() in image_extensions()


def too_many(shown: str, limit: int) -> SourceError:
    """Refuse a source with more images than allowed."""
    return SourceError(f"{shown}: more than {limit} images. Raise prepare.max_images if so meant.")


def none_found(shown: str, skipped: int) -> SourceError:
    """Refuse a source without images."""
    others = f" ({skipped} other file{'' if skipped == 1 else 's'})" if skipped else ""
    return SourceError(f"no image found in {shown}{others}. Put images there, or set prepare.path.")


def _digits() -> Source:
    from sklearn.datasets import load_digits

    scans = load_digits()
    # 0..16 to 0..255; each scan is 8 x 8.
    pixels = np.rint(scans.images * (255 / 16)).astype(np.uint8)
    items = (
        (f"{label}/{number:04d}", image)
        for number, (image, label) in enumerate(zip(pixels, scans.target, strict=True))
    )
    return Source({"kind": "digits"}, items, len(pixels))


def _folder(params: PrepareParams, root: Path) -> Source:
    top = root / params.path
    if top.is_file():
        raise SourceError(
            f"prepare.path: {params.path} is a file. Set prepare.source to archive, or name a "
            "folder."
        )
    if not top.is_dir():
        raise SourceError(
            f"prepare.path: {params.path}: no such folder. Put images there, or set prepare.path."
        )
    top_real = os.path.realpath(top)
    source = Source({"kind": "folder", "name": shown_name(top, root)}, iter(()))
    found: list[tuple[str, str, bool]] = []
    for name, path, escapes in _walk(top_real, source):
        found.append((name, path, escapes))
        if len(found) > params.max_images:
            raise too_many(params.path, params.max_images)
    if not found:
        raise none_found(params.path, source.skipped)
    source.count = len(found)
    source.items = _folder_items(sorted(found))
    return source


def _folder_items(found: Iterable[tuple[str, str, bool]]) -> Iterator[Item]:
    outside = Unreadable("a symbolic link that leaves the folder is not followed")
    for name, path, escapes in found:
        yield name, outside if escapes else path


def _walk(top: str, source: Source) -> Iterator[tuple[str, str, bool]]:
    """(relative name, path, is a link that leaves `top`) of each image; counts other files.

    Links to folders inside are not walked: their images are found where they are.
    """
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        for entry in _entries(folder):
            relative = PurePosixPath(os.path.relpath(entry.path, top))
            if is_hidden(relative):
                continue
            escapes = entry.is_symlink() and not _inside(os.path.realpath(entry.path), top)
            is_folder = os.path.isdir(entry.path)
            # What does not exist is a link to nowhere: reading it will say so.
            is_file = os.path.isfile(entry.path) or not os.path.exists(entry.path)
            if is_folder and not escapes:
                waiting += [] if entry.is_symlink() else [entry.path]
            elif (is_folder and escapes) or (is_file and is_image_name(relative)):
                yield clean_name(str(relative)), entry.path, escapes
            else:
                source.skipped += 1


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise SourceError(
            f"{folder}: cannot be listed: {error.strerror}. Correct its permissions, or move it "
            "away."
        ) from None


def _inside(path: str, top: str) -> bool:
    return path == top or path.startswith(top.rstrip("/") + "/")

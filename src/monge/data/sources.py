"""Lists where images come from: scikit-learn's digits, a folder, an archive, torchvision."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath

import numpy as np

from monge.data import additions, dataset_json, dvc_cache
from monge.data.encoded import Unreadable
from monge.data.listing import (
    Item,
    Source,
    clean_name,
    ending,
    has_image_bytes,
    is_hidden,
    is_image_name,
    none_found,
    note_hidden,
    note_labels,
    note_skipped,
    shown_name,
    too_many,
)
from monge.data.separators import slashed
from monge.errors import SourceError
from monge.params import PrepareParams


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
    later: list[str] = []
    for name, path, escapes in _walk(top_real, root, source):
        addition = additions.of_file(name)
        if addition is not None:
            later.append(addition)
            continue
        found.append((name, path, escapes))
        if len(found) > params.max_images:
            raise too_many(params.path, params.max_images)
    if not (found or later):
        raise none_found(params.path, source.skipped)
    source.count = None if later else len(found)
    source.items = _folder_items(found)
    if later:
        source.description["additions"] = sorted(later)
        source.items = chain(source.items, additions.images(source, params, root))
    return source


def _folder_items(found: Sequence[tuple[str, str, bool]]) -> Iterator[Item]:
    outside = Unreadable(
        "a symbolic link that leaves the folder is not followed: put the image itself there "
        "(cp -L copies it)"
    )
    names = [clean_name(name) for name in slashed([name for name, _, _ in found])]
    each = zip(names, found, strict=True)
    for name, (_, path, escapes) in sorted(each, key=lambda pair: pair[0]):
        yield name, outside if escapes else path


def _walk(top: str, root: Path, source: Source) -> Iterator[tuple[str, str, bool]]:
    """(relative name, path, is a link that leaves `top`) of each image; counts other files.

    Links to folders inside are not walked: their images are found where they are. Links that DVC
    made into its cache, here or where the images lie, are files like others.
    """
    caches, theirs = dvc_cache.places(root), dvc_cache.around(Path(top))
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        for entry in _entries(folder):
            relative = PurePosixPath(os.path.relpath(entry.path, top))
            if is_hidden(relative):
                note_hidden(relative, source, is_folder=entry.is_dir())
                continue
            escapes = entry.is_symlink() and _leaves(entry.path, top, caches, theirs)
            is_folder = os.path.isdir(entry.path)
            # What does not exist is a link to nowhere: reading it will say so.
            is_file = os.path.isfile(entry.path) or not os.path.exists(entry.path)
            if is_folder and not escapes:
                waiting += [] if entry.is_symlink() else [entry.path]
            elif is_file and not escapes and additions.of_file(str(relative)):
                yield str(relative), entry.path, False
            elif (is_folder and escapes) or (is_file and _is_image(relative, entry.path, escapes)):
                yield str(relative), entry.path, escapes
            elif relative.name == dataset_json.NAME and not escapes:
                note_labels(Path(entry.path).read_bytes(), relative, source)
            else:
                note_skipped(relative, source)


def _is_image(relative: PurePosixPath, path: str, escapes: bool) -> bool:
    if ending(relative) or escapes:
        return is_image_name(relative)
    try:
        with open(path, "rb") as file:
            return has_image_bytes(file.read(16))
    except OSError:
        return False


def _leaves(path: str, top: str, caches: Sequence[str], theirs: Sequence[str]) -> bool:
    """Tell whether a link leads out; `theirs` are caches named where the images came from."""
    try:
        target = os.path.realpath(path)
    except OSError:  # such as a process's own file, once that has ended
        return True
    if any(_inside(target, place) for place in (top, *caches)):
        return False
    return not (dvc_cache.is_object(target) and any(_inside(target, place) for place in theirs))


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

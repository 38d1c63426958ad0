"""Where images come from: the digits that scikit-learn ships, a folder, an archive, torchvision."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from monge.data import additions, dataset_json, dvc_cache
from monge.data.decode import Encoded, Unreadable, image_extensions
from monge.data.separators import slashed
from monge.errors import SourceError
from monge.params import PrepareParams

NO_ENDING = "without an ending"
HIDDEN = "hidden images"
_MAGIC = (
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"qoif",
)  # fmt: skip
# An ending says what a file is; `.jpg?w=300`, `.png~` and the `.5` of `v1.5` do not.
_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,9}|\.7z")
_SYSTEMS = frozenset(
    {"__MACOSX", "@eaDir", "#recycle", "@Recycle", "$RECYCLE.BIN", "System Volume Information",
     "lost+found", ".git", ".dvc", ".ipynb_checkpoints"}
)  # fmt: skip
_ARCHIVES = (".zip", ".tar", ".gz", ".xz", ".bz2", ".7z", ".rar", ".zst", ".tgz", ".txz", ".tbz")
_KINDS = {
    "images of a format that is not read: convert them to PNG or JPEG": (
        ".heic", ".heif", ".hif", ".jxl", ".svg", ".psd", ".xcf", ".kra", ".raw", ".cr2", ".cr3",
        ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf", ".ico", ".icns", ".tga", ".pcx", ".dds",
        ".exr", ".hdr", ".eps", ".pdf", ".dcm", ".fits",
    ),
    "an archive inside, which is not opened": _ARCHIVES,
    "videos: write their pictures as files": (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v"),
    "data that are not read: write their images as PNG files": (
        ".parquet", ".arrow", ".npz", ".npy", ".h5", ".hdf5", ".mat", ".mdb", ".tfrecord",
        ".tfrecords", ".pkl", ".pickle", ".pt", ".bin",
    ),
    "no labels are read from it: a class is a folder": (".csv", ".tsv", ".cls", ".xls", ".xlsx"),
}  # fmt: skip
_CONVERT = {ending: f" ({what})" for what, endings in _KINDS.items() for ending in endings} | {
    HIDDEN: " (a name that begins with a point)"
}

Item = tuple[str, Encoded]  # relative path with "/", and what is to be decoded


@dataclass
class Source:
    """A stream of images. `items` runs once; what follows is whole after it.

    `titles` replaces class folders that are numbers ("0003") by names, where a dataset has them;
    `skipped` counts the files that are no images, by their endings; `labels` has the classes that a
    dataset.json beside the images names, by path.
    """

    description: dict[str, Any]
    items: Iterator[Item]
    count: int | None = None
    titles: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    labels: dict[str, str] = field(default_factory=dict)
    sharded: bool = False
    """Whether there is a dataset.json: its folders are shards, with labels or without."""


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
    """Rid a file's name of characters that would break a terminal or a JSON file.

    Two names stay two: a backslash is escaped like what it escapes.
    """
    if name.isprintable() and "\\" not in name:
        return name
    return "".join(
        each if each.isprintable() and each != "\\" else each.encode("unicode_escape").decode()
        for each in name
    )


def is_hidden(path: PurePosixPath) -> bool:
    """Tell files that a system, not a person, put there."""
    return any(part.startswith(".") or part in _SYSTEMS for part in path.parts)


def note_hidden(path: PurePosixPath, source: Source, *, is_folder: bool = False) -> None:
    """Count what is hidden and may hold images that were meant; a system's own is not counted."""
    if _SYSTEMS & set(path.parts) or path.name.startswith("._"):
        return
    if is_folder or is_image_name(path):
        source.skipped["hidden folders" if is_folder else HIDDEN] += 1


def ending(path: PurePosixPath) -> str:
    """What a file's name ends in, as `.png`; empty where that says nothing."""
    suffix = path.suffix.lower()
    return suffix if _ENDING.fullmatch(suffix) else ""


def is_image_name(path: PurePosixPath) -> bool:
    """Tell whether the ending is one of an image format that is read."""
    return path.suffix.lower() in image_extensions()


def may_be_image(path: PurePosixPath) -> bool:
    """Tell whether a file is to be opened: by its ending or, where it has none, by its bytes."""
    return is_image_name(path) or not ending(path)


def has_image_bytes(head: bytes) -> bool:
    """Tell an image that is read by its first 16 bytes; other files without an ending are many."""
    boxed = head[4:12] in (b"ftypavif", b"jP  \r\n\x87\n")
    webp = head.startswith(b"RIFF") and head[8:12] == b"WEBP"
    bitmap = head.startswith(b"BM") and head[6:10] == bytes(4)
    return head.startswith(_MAGIC) or boxed or webp or bitmap


def note_skipped(path: PurePosixPath, source: Source) -> None:
    """Count a file that is no image that is read."""
    source.skipped[ending(path) or NO_ENDING] += 1


def note_labels(text: bytes, path: PurePosixPath, source: Source) -> None:
    """Keep what a dataset.json says of the images beside it. Raises SourceError."""
    labels = dataset_json.read(text)
    if labels is None:
        note_skipped(path, source)
        return
    for name, label in labels.items():
        source.labels[clean_name(str(path.parent / name))] = label
    source.sharded = True


def too_many(shown: str, limit: int) -> SourceError:
    """Refuse a source with more images than allowed."""
    return SourceError(f"{shown}: more than {limit} images. Raise prepare.max_images if so meant.")


def none_found(shown: str, skipped: Counter[str]) -> SourceError:
    """Refuse a source without images."""
    others = f", only {endings(skipped)}" if skipped else ""
    archives = any(each in skipped for each in _ARCHIVES)
    way = "Name the archive itself, unpacked if it lies in one" if archives else "Put images there"
    return SourceError(f"no image found in {shown}{others}. {way}, or set prepare.path.")


def endings(skipped: Counter[str]) -> str:
    """List files by their endings: `10 .heic (no format that is read; convert them), 2 .txt`."""
    told = [
        f"{count:,} {ending}{_CONVERT.get(ending, '')}" for ending, count in skipped.most_common(8)
    ]
    more = sum(skipped.values()) - sum(count for _, count in skipped.most_common(8))
    return ", ".join(told) + (f" and {more:,} others" if more else "")


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
    """Whether a link leads out; `theirs` are caches that are named where the images came from."""
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

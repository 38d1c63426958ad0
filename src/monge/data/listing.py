"""Lists a source: its images by name, and the files that are none."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from monge.data import dataset_json
from monge.data.encoded import Encoded, image_extensions
from monge.errors import SourceError

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
    """True where there is a dataset.json: its folders are shards, with labels or without."""


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
    """Give the ending of a file's name, as `.png`; empty where that says nothing."""
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

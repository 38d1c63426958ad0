"""Where images come from: the digits that scikit-learn ships, a folder, an archive, torchvision."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from monge.data import dataset_json, dvc_cache
from monge.data.decode import Encoded, Unreadable, image_extensions
from monge.errors import SourceError
from monge.params import PrepareParams

NO_ENDING = "without an ending"
_MAGIC = (
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"RIFF", b"II*\0", b"MM\0*",
    b"qoif",
)  # fmt: skip
_CONVERT = dict.fromkeys(
    (".heic", ".heif", ".jxl", ".svg", ".psd", ".raw", ".cr2", ".nef", ".arw", ".dng", ".ico",
     ".tga", ".dds", ".exr", ".hdr", ".eps", ".pdf"),
    " (images of a format that is not read: convert them to PNG or JPEG)",
) | dict.fromkeys((".zip", ".tar", ".gz", ".xz", ".bz2", ".7z", ".rar", ".zst", ".tgz"),
                  " (an archive inside, which is not opened)")  # fmt: skip

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
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def is_image_name(path: PurePosixPath) -> bool:
    """Tell whether the ending is one of an image format that is read."""
    return path.suffix.lower() in image_extensions()


def may_be_image(path: PurePosixPath) -> bool:
    """Tell whether a file is to be opened: by its ending or, where it has none, by its bytes."""
    return is_image_name(path) or not path.suffix


def has_image_bytes(head: bytes) -> bool:
    """Tell an image that is read by its first 16 bytes; other files without an ending are many."""
    return head.startswith(_MAGIC) or head[4:12] in (b"ftypavif", b"jP  \r\n\x87\n")


def note_skipped(path: PurePosixPath, source: Source) -> None:
    """Count a file that is no image that is read."""
    source.skipped[path.suffix.lower() or NO_ENDING] += 1


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
    return SourceError(f"no image found in {shown}{others}. Put images there, or set prepare.path.")


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
    for name, path, escapes in _walk(top_real, root, source):
        found.append((name, path, escapes))
        if len(found) > params.max_images:
            raise too_many(params.path, params.max_images)
    if not found:
        raise none_found(params.path, source.skipped)
    source.count = len(found)
    source.items = _folder_items(sorted(found))
    return source


def _folder_items(found: Iterable[tuple[str, str, bool]]) -> Iterator[Item]:
    outside = Unreadable(
        "a symbolic link that leaves the folder is not followed; put the image itself there"
    )
    for name, path, escapes in found:
        yield name, outside if escapes else path


def _walk(top: str, root: Path, source: Source) -> Iterator[tuple[str, str, bool]]:
    """(relative name, path, is a link that leaves `top`) of each image; counts other files.

    Links to folders inside are not walked: their images are found where they are. Links that DVC
    made into its cache are files like others.
    """
    caches = dvc_cache.places(root)
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        for entry in _entries(folder):
            relative = PurePosixPath(os.path.relpath(entry.path, top))
            if is_hidden(relative):
                continue
            escapes = entry.is_symlink() and _leaves(entry.path, top, caches)
            is_folder = os.path.isdir(entry.path)
            # What does not exist is a link to nowhere: reading it will say so.
            is_file = os.path.isfile(entry.path) or not os.path.exists(entry.path)
            if is_folder and not escapes:
                waiting += [] if entry.is_symlink() else [entry.path]
            elif (is_folder and escapes) or (is_file and _is_image(relative, entry.path, escapes)):
                yield clean_name(str(relative)), entry.path, escapes
            elif relative.name == dataset_json.NAME and not escapes:
                note_labels(Path(entry.path).read_bytes(), relative, source)
            else:
                note_skipped(relative, source)


def _is_image(relative: PurePosixPath, path: str, escapes: bool) -> bool:
    if relative.suffix or escapes:
        return is_image_name(relative)
    try:
        with open(path, "rb") as file:
            return has_image_bytes(file.read(16))
    except OSError:
        return False


def _leaves(path: str, top: str, caches: Sequence[str]) -> bool:
    target = os.path.realpath(path)
    return not any(_inside(target, place) for place in (top, *caches))


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

"""The packed dataset: plain .npy files of uint8 images and a manifest that describes them.

    train.npy, validation.npy          uint8 [n, C, H, W]; train-00000.npy, ... past a size limit
    train-labels.npy, ...              int64 [n], where the source has classes
    manifest.json                      counts, shape, classes, source, hashes, rejected files

The same images and parameters give the same bytes: no time stamps, no absolute paths.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from monge.errors import DatasetError
from monge.files import sha256

FORMAT = "monge-packed"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"

_MAX_MANIFEST_BYTES = 2**28
_MAX_COUNT = 2**40
_MAX_SIDE = 2**16

SplitName = Literal["train", "validation"]
SPLITS: tuple[SplitName, ...] = ("train", "validation")
Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


class Split:
    """One split, memory-mapped: `shards` hold uint8 [n_i, C, H, W], `labels` int64 [n] or None."""

    def __init__(self, shards: Sequence[Images], labels: Labels | None) -> None:
        self.shards = list(shards)
        self.labels = labels
        self._ends = np.cumsum([len(shard) for shard in self.shards])

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, C, H, W)."""
        channels, height, width = self.shards[0].shape[1:]
        return len(self), channels, height, width

    def take(self, indices: NDArray[np.integer[Any]]) -> Images:
        """Copy images: int [k] in any order, duplicates allowed -> uint8 [k, C, H, W].

        Raises IndexError for an index outside 0..n-1.
        """
        indices = np.asarray(indices)
        if indices.size and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(f"image index outside 0..{len(self) - 1}")
        if len(self.shards) == 1:
            return np.take(self.shards[0], indices, axis=0)
        out = np.empty((len(indices), *self.shards[0].shape[1:]), np.uint8)
        owner = np.searchsorted(self._ends, indices, side="right")
        for which in np.unique(owner):
            shard = self.shards[which]
            mine = owner == which
            out[mine] = shard[indices[mine] - (self._ends[which] - len(shard))]
        return out

    def spread(self, most: int) -> NDArray[np.int64]:
        """At most so many places from all over the split, which may be in the order of classes."""
        return np.linspace(0, len(self) - 1, min(most, len(self)), dtype=np.int64)


class PackedDataset:
    """A packed dataset on disk; `open` checks that it is whole, `verify` that no bit changed."""

    def __init__(
        self, folder: Path, manifest: dict[str, Any], train: Split, validation: Split
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.train = train
        self.validation = validation
        channels, height, width = manifest["image_shape"]
        self.image_shape: tuple[int, int, int] = (channels, height, width)
        self.class_names: tuple[str, ...] = tuple(manifest["class_names"])
        self.content_hash: str = manifest["content_hash"]

    @classmethod
    def open(cls, folder: Path) -> PackedDataset:
        """Map a packed dataset into memory; costs no more for a large one.

        Raises DatasetError when it is missing, truncated, or its files differ from its manifest.
        """
        folder = Path(folder)
        manifest = _read_manifest(folder)
        try:
            shape = _checked_shape(manifest["image_shape"])
            names = manifest["class_names"]
            _require(
                isinstance(names, list)
                and all(isinstance(name, str) for name in names)
                and len(set(names)) == len(names),
                "class_names are not distinct strings",
            )
            _require(isinstance(manifest["content_hash"], str), "content_hash is no string")
            train, validation = (
                _open_split(folder, manifest, split, shape, len(names)) for split in SPLITS
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise _damaged(folder, f"{MANIFEST} lacks or misstates {error}") from None
        except (ValueError, OSError, EOFError) as error:
            raise _damaged(folder, str(error)) from None
        return cls(folder, manifest, train, validation)

    def verify(self) -> None:
        """Read every file and compare its SHA-256; raises DatasetError naming the first changed."""
        for name, facts in sorted(self.manifest["files"].items()):
            if sha256(self.folder / name) != facts["sha256"]:
                raise _damaged(self.folder, f"{name} has changed since it was written")


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)


def _damaged(folder: Path, what: str) -> DatasetError:
    return DatasetError(f"{folder}: damaged dataset: {what}. Run `monge prepare` to make it again.")


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        _require(path.stat().st_size <= _MAX_MANIFEST_BYTES, f"{MANIFEST} is absurdly large")
        manifest = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise DatasetError(
            f"{folder}: no packed dataset here. Run `monge prepare` to make it."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(folder, f"{MANIFEST} cannot be read ({error})") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise _damaged(folder, f"{MANIFEST} does not describe a packed dataset")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise DatasetError(
            f"{folder}: dataset format {manifest.get('format_version')!r} is not the one this "
            f"monge reads ({FORMAT_VERSION}). Run `monge prepare` to make it again."
        )
    return manifest


def _checked_count(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= _MAX_COUNT:
        raise ValueError(f"count {value!r} is not sensible")
    return value


def _checked_shape(value: Any) -> tuple[int, int, int]:
    channels, height, width = value
    for side in (channels, height, width):
        if type(side) is not int or not 1 <= side <= _MAX_SIDE:
            raise ValueError(f"image_shape {value!r} is not sensible")
    return channels, height, width


def _open_split(
    folder: Path,
    manifest: dict[str, Any],
    name: str,
    image_shape: tuple[int, int, int],
    classes: int,
) -> Split:
    facts = manifest["splits"][name]
    total = _checked_count(facts["count"])
    shards = [
        _map(folder, shard["file"], (_checked_count(shard["count"]), *image_shape), np.uint8)
        for shard in facts["shards"]
    ]
    _require(sum(len(shard) for shard in shards) == total, f"{name} shards do not add up")
    if not classes:
        return Split(shards, None)
    labels = _map(folder, facts["labels"], (total,), np.int64)
    _require(0 <= int(labels.min()) <= int(labels.max()) < classes, f"{name} labels name no class")
    return Split(shards, labels)


def _map(folder: Path, name: Any, shape: tuple[int, ...], dtype: type[np.generic]) -> Any:
    """Memory-map one file as a plain array; raises ValueError when it is not as described."""
    if not isinstance(name, str) or Path(name).name != name or not name.endswith(".npy"):
        raise ValueError(f"{name!r} is not a file name of a packed dataset")
    path = folder / name
    if not path.is_file():
        raise ValueError(f"{name} is missing")
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.memmap) or array.dtype != dtype or array.shape != shape:
        raise ValueError(f"{name} does not hold {np.dtype(dtype)} {list(shape)}")
    if not array.flags.c_contiguous or path.stat().st_size != array.offset + array.nbytes:
        raise ValueError(f"{name} has the wrong size")
    return np.asarray(array)

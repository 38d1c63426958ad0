"""Writing a packed dataset in bounded memory; it appears whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from monge.data.packed import (
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    SPLITS,
    Images,
    Labels,
    PackedDataset,
    SplitName,
)
from monge.data.replacement import FolderReplacement, storage_error, write_whole
from monge.errors import DatasetError
from monge.files import sha256

SHARD_BYTES = 2**30


class PackedWriter:
    """Writes a packed dataset image by image; `finish` puts it in place of the old one, whole.

    Used as a context manager. Memory stays bounded by what is appended at once. Raises
    StorageError when the disk is full or read-only, Busy when another process writes `folder`.
    """

    def __init__(
        self,
        folder: Path,
        image_shape: tuple[int, int, int],
        class_names: Sequence[str] = (),
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        self.folder = Path(folder)
        self.image_shape = image_shape
        self.class_names = list(class_names)
        self._replacement = FolderReplacement(self.folder)
        per_shard = max(1, shard_bytes // int(np.prod(image_shape)))
        self._scratch = self._replacement.partial
        self._splits = {
            split: _SplitWriter(self._scratch, split, image_shape, per_shard) for split in SPLITS
        }

    def __enter__(self) -> PackedWriter:
        self._replacement.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for split in self._splits.values():
            split.close()
        self._replacement.__exit__(kind, error, trace)

    def append(self, split: SplitName, images: Images, labels: Labels | None = None) -> None:
        """Add uint8 [k, C, H, W], with labels int64 [k] exactly when there are class names."""
        if images.dtype != np.uint8 or images.shape[1:] != self.image_shape:
            raise ValueError(f"expected uint8 [k, *{self.image_shape}], got {images.shape}")
        if (labels is None) == bool(self.class_names):
            raise ValueError("labels must be given exactly when there are class names")
        if labels is not None and (
            labels.shape != images.shape[:1]
            or (labels.size and not 0 <= labels.min() <= labels.max() < len(self.class_names))
        ):
            raise ValueError("labels must be one class index an image")
        try:
            self._splits[split].append(images, labels)
        except OSError as error:
            raise storage_error(self.folder, error) from None

    def finish(self, **description: Any) -> PackedDataset:
        """Write the manifest with `description` (JSON values) beside the facts, and take place.

        Raises DatasetError when a split has no image.
        """
        for name, split in self._splits.items():
            if not split.count:
                raise DatasetError(f"{self.folder}: the {name} split has no image.")
        try:
            splits = {
                name: split.finish(len(self.class_names)) for name, split in self._splits.items()
            }
            identity = {
                "class_names": self.class_names,
                "image_shape": list(self.image_shape),
                "splits": {name: split.digests() for name, split in self._splits.items()},
            }
            manifest = description | {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "image_shape": list(self.image_shape),
                "class_names": self.class_names,
                "content_hash": hashlib.sha256(_json(identity)).hexdigest(),
                "splits": splits,
                "files": {
                    path.name: {"sha256": sha256(path), "size_bytes": path.stat().st_size}
                    for path in sorted(self._scratch.glob("*.npy"))
                },
            }
            (self._scratch / MANIFEST).write_bytes(_json(manifest))
        except OSError as error:
            raise storage_error(self.folder, error) from None
        self._replacement.commit()
        return PackedDataset.open(self.folder)


class _SplitWriter:
    """The growing shards and labels of one split."""

    def __init__(
        self, folder: Path, name: str, image_shape: tuple[int, int, int], per_shard: int
    ) -> None:
        self.folder, self.name, self.image_shape = folder, name, image_shape
        self.per_shard = per_shard
        self.counts: list[int] = []
        self._labels: list[Labels] = []
        self._file: io.RawIOBase | None = None
        self._digest = hashlib.sha256()

    @property
    def count(self) -> int:
        return sum(self.counts)

    def append(self, images: Images, labels: Labels | None) -> None:
        if labels is not None:
            self._labels.append(labels.astype(np.int64))
        self._digest.update(np.ascontiguousarray(images).data)
        while len(images):
            if not self.counts or self.counts[-1] == self.per_shard:
                self._start_shard()
            assert self._file is not None
            room = self.per_shard - self.counts[-1]
            write_whole(self._file, images[:room])
            self.counts[-1] += len(images[:room])
            images = images[room:]

    def _start_shard(self) -> None:
        self._end_shard()
        self.counts.append(0)
        self._file = (self.folder / self._shard(len(self.counts) - 1)).open("wb", buffering=0)
        self._write_header(0)

    def _end_shard(self) -> None:
        if self._file is not None:
            # NumPy pads the header so that a larger first axis fits in the same bytes.
            self._file.seek(0)
            self._write_header(self.counts[-1])
            self.close()

    def _write_header(self, count: int) -> None:
        assert self._file is not None
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, *self.image_shape)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _shard(self, number: int) -> str:
        return f"{self.name}-{number:05d}.npy"

    def finish(self, classes: int) -> dict[str, Any]:
        self._end_shard()
        names = [self._shard(number) for number in range(len(self.counts))]
        if len(names) == 1:
            (self.folder / names[0]).rename(self.folder / f"{self.name}.npy")
            names = [f"{self.name}.npy"]
        facts: dict[str, Any] = {
            "count": self.count,
            "labels": None,
            "per_class": None,
            "shards": [
                {"count": count, "file": name}
                for name, count in zip(names, self.counts, strict=True)
            ],
        }
        if classes:
            labels = np.concatenate(self._labels)
            facts["labels"] = f"{self.name}-labels.npy"
            facts["per_class"] = np.bincount(labels, minlength=classes).tolist()
            np.save(self.folder / facts["labels"], labels, allow_pickle=False)
        return facts

    def digests(self) -> dict[str, Any]:
        labels = hashlib.sha256(b"".join(part.tobytes() for part in self._labels))
        return {
            "count": self.count,
            "images": self._digest.hexdigest(),
            "labels": labels.hexdigest(),
        }


def _json(value: Mapping[str, Any]) -> bytes:
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()

"""Reading a packed split's images from its files, and reading them ahead in a thread.

Files are read, not mapped: a mapped file that is cut short or on a failing disk kills the process
with SIGBUS, and every page of it that was touched counts as the process's memory.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from monge.data.packed import Images, Split
from monge.errors import DatasetError, StorageError

T = TypeVar("T")


@dataclass(frozen=True)
class _Shard:
    """One open file: images `first` to `end` of the split, image i at byte origin + i * size."""

    descriptor: int
    path: Path
    origin: int
    first: int
    end: int


class SplitFiles:
    """The images of a split on disk, by number; its files are open until `close`.

    Raises StorageError when a file cannot be opened.
    """

    def __init__(self, split: Split) -> None:
        self.image_bytes = int(np.prod(split.shape[1:]))
        self._shards: list[_Shard] = []
        with ExitStack() as files:
            for images in split.shards:
                first = self._shards[-1].end if self._shards else 0
                self._shards.append(_opened(images, first, files))
            self._files = files.pop_all()
        self._ends = np.array([shard.end for shard in self._shards])
        self._origins = np.array([shard.origin for shard in self._shards])

    def close(self) -> None:
        """Close the files."""
        self._files.close()

    def read(self, indices: NDArray[np.int64], out: Images) -> None:
        """Fill `out` [k, C, H, W], in C order, with images `indices` [k].

        Raises DatasetError for a file cut short, StorageError when the disk fails.
        """
        rows, start = out.data.cast("B"), 0
        for shard, position in self._located(indices):
            end = start + self.image_bytes
            _fill(shard, position, rows[start:end])
            start = end

    def expect(self, indices: NDArray[np.int64]) -> None:
        """Have the system fetch these images meanwhile, so that the disk works on many at once."""
        if hasattr(os, "posix_fadvise"):  # not on macOS
            for shard, position in self._located(indices):
                os.posix_fadvise(
                    shard.descriptor, position, self.image_bytes, os.POSIX_FADV_WILLNEED
                )

    def _located(self, indices: NDArray[np.int64]) -> Iterator[tuple[_Shard, int]]:
        """Find where each image is: its file and its first byte."""
        owners = np.searchsorted(self._ends, indices, side="right")
        positions = self._origins[owners] + indices * self.image_bytes
        shards = self._shards
        return ((shards[i], p) for i, p in zip(owners.tolist(), positions.tolist(), strict=True))

    def read_range(self, first: int, out: Images) -> None:
        """Fill `out` [k, C, H, W], in C order, with images first to first + k - 1.

        Raises as `read` does.
        """
        end = first + len(out)
        for shard in self._shards:
            start, stop = max(first, shard.first), min(end, shard.end)
            if start < stop:
                rows = out[start - first : stop - first].data.cast("B")
                _fill(shard, shard.origin + start * self.image_bytes, rows)


def _fill(shard: _Shard, position: int, view: memoryview) -> None:
    """Read bytes from `position` on until `view` is full."""
    while view:
        try:
            count = os.preadv(shard.descriptor, (view,), position)
        except OSError as error:
            raise StorageError(
                f"{shard.path}: cannot be read ({error.strerror or error}). Check that disk, then "
                "run the same command again."
            ) from error
        if count == 0:
            raise DatasetError(
                f"{shard.path}: was cut short while it was read. Run `monge prepare` to make it "
                "again."
            )
        view, position = view[count:], position + count


def _opened(images: Images, first: int, files: ExitStack) -> _Shard:
    mapped = images.base
    if not isinstance(mapped, np.memmap) or mapped.filename is None:
        raise ValueError("a split in memory has no files to read")
    path = Path(mapped.filename)
    try:
        file = files.enter_context(path.open("rb", buffering=0))
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be opened ({error.strerror or error}). Make it readable, or run "
            "`monge prepare` to make it again."
        ) from error
    origin = mapped.offset - first * int(np.prod(images.shape[1:]))
    return _Shard(file.fileno(), path, origin, first, first + len(images))


class ReadAhead(Generic[T]):
    """`produce(k)` for k = first, first + 1, ... run in a thread, at most `depth` results ahead.

    An iterator and a context manager; on leaving, the thread has ended. What `produce` raises is
    raised by `next` in its turn, after the results before it.
    """

    def __init__(self, produce: Callable[[int], T], first: int, depth: int) -> None:
        self._produce, self._first = produce, first
        self._results: SimpleQueue[tuple[T, None] | tuple[None, BaseException]] = SimpleQueue()
        self._room = threading.Semaphore(depth)
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self._thread.start()

    def __iter__(self) -> ReadAhead[T]:
        return self

    def __next__(self) -> T:
        if self._closed:
            raise StopIteration
        result, error = self._results.get()
        if error is not None:
            self.close()
            raise error
        self._room.release()
        return result  # type: ignore[return-value]

    def close(self) -> None:
        """End the thread once the result in hand is done."""
        self._closed = True
        self._room.release()
        self._thread.join()

    def __enter__(self) -> ReadAhead[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        k = self._first
        while True:
            self._room.acquire()
            if self._closed:
                return
            try:
                self._results.put((self._produce(k), None))
            except BaseException as error:  # the trainer's thread is the one to be told
                self._results.put((None, error))
                return
            k += 1

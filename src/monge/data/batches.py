"""Batches of real images for a training: kept on the device where they fit, streamed otherwise."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monge.data.budget import free_bytes
from monge.data.order import Order
from monge.data.packed import Split
from monge.data.reader import ReadAhead, SplitFiles
from monge.errors import DeviceError
from monge.params import TrainParams

RESIDENT_SHARE = 0.5
"""`train.data: auto` keeps a split that takes at most this share of the memory that is free."""

AHEAD = 4
"""Batches that the reader may be ahead of the training."""

_LOAD_BYTES = 2**26
_ORDER_IMAGES = 2**14

log = logging.getLogger(__name__)


class Batch(NamedTuple):
    """Real images float32 [n, C, H, W] in [-1, 1] and, with `train.conditional`, labels [n]."""

    images: Tensor
    labels: Tensor | None = None


class Batches:
    """Real images [n, C, H, W] in [-1, 1] on a device, batch after batch from any position.

    The split is kept on the device as uint8 and batches are gathered there, or it is streamed from
    its files by a thread that reads ahead. Both give the same batches. A context manager: on
    leaving, no thread and no open file is left.

    `share` is (part, parts): of each batch only this part, where several ranks have one each.
    `budget_bytes` is what `train.data: auto` may keep, instead of its share of the free memory.
    Raises DeviceError when `train.data: resident` does not fit; reading raises DatasetError or
    StorageError.
    """

    def __init__(
        self,
        split: Split,
        train: TrainParams,
        device: torch.device,
        budget_bytes: int | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.order = Order(len(split), train.batch_size, train.seed, flip=train.flip)
        part, parts = share
        self.size = train.batch_size // parts
        self._share = slice(part * self.size, (part + 1) * self.size)
        self.device = device
        self.resident = _stays(split, train.data, device, budget_bytes)
        self._shape = split.shape
        # Opened now and kept: a dataset that takes this one's place later is another dataset.
        self._files = SplitFiles(split)
        self._images: Tensor | None = None  # loaded when the first batch is wanted
        self._labels = np.array(split.labels) if train.conditional else None
        self._running: Generator[Batch] | None = None

    def starting_at(self, k: int) -> Iterator[Batch]:
        """Batches k, k + 1, ... of `size` images for ever. Ends the iterator before.

        A batch is the caller's to keep.
        """
        self._stop()
        self._running = self._kept(k) if self.resident else self._streamed(k)
        return self._running

    def close(self) -> None:
        """End the reader's thread and close the files."""
        self._stop()
        self._files.close()

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _stop(self) -> None:
        if self._running is not None:
            self._running.close()

    def _kept(self, k: int) -> Generator[Batch]:
        if self._images is None:
            self._images = self._load()
        known = None if self._labels is None else _sent(self._labels, self.device)
        count = max(1, _ORDER_IMAGES // self.order.batch_size)
        while True:
            indices, mirrored = self._batches(k, count)
            which = _sent(indices, self.device).unbind(0)
            sides = [None] * count if mirrored is None else self._sides(mirrored).unbind(0)
            for images, side in zip(which, sides, strict=True):
                labels = None if known is None else known.index_select(0, images)
                yield Batch(_finished(self._images.index_select(0, images), side), labels)
            k += count

    def _load(self) -> Tensor:
        """The split as one uint8 tensor [n, C, H, W] on the device."""
        try:
            images = torch.empty(self._shape, dtype=torch.uint8, device=self.device)
        except RuntimeError as error:  # torch's several out-of-memory errors
            raise _does_not_fit(self._shape, self.device, free_bytes(self.device)) from error
        step = max(1, _LOAD_BYTES // self._files.image_bytes)
        for first in range(0, len(images), step):
            rows = images[first : first + step]
            host = rows if rows.device.type == "cpu" else torch.empty_like(rows, device="cpu")
            self._files.read_range(first, host.numpy())
            rows.copy_(host)
        return images

    def _streamed(self, k: int) -> Generator[Batch]:
        stream = None
        if self.device.type == "cuda":
            stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        with ReadAhead(lambda k: self._read(k, stream), k, AHEAD) as reader:
            for images, labels, side, arrived in reader:
                if arrived is not None:
                    _take_over(self.device, arrived, images, labels, side)
                yield Batch(_finished(images, side), labels)

    def _read(
        self, k: int, stream: torch.cuda.Stream | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None, torch.cuda.Event | None]:
        """Batch k as uint8, labels and sides, on the device; on a GPU, when they have arrived."""
        self._files.expect(self._batches(k + AHEAD)[0][0])
        indices, mirrored = self._batches(k)
        shape = (self.size, *self._shape[1:])
        images = torch.empty(shape, dtype=torch.uint8, pin_memory=stream is not None)
        self._files.read(indices[0], images.numpy())
        with torch.cuda.stream(stream):  # does nothing where there is none
            images = images.to(self.device, non_blocking=True)
            side = None if mirrored is None else self._sides(mirrored)[0]
            labels = None
            if self._labels is not None:
                labels = _sent(self._labels[indices[0]], self.device)
            return images, labels, side, None if stream is None else stream.record_event()

    def _batches(
        self, k: int, count: int = 1
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
        """This share of the batches from k on: images, and which are mirrored: [count, size]."""
        indices, mirrored = self.order.batches(k, count)
        share = np.s_[:, self._share]
        return np.ascontiguousarray(indices[share]), None if mirrored is None else mirrored[share]

    def _sides(self, mirrored: NDArray[np.bool_]) -> Tensor:
        """Each image's place among a batch and its mirror image, end to end: int64 [count, n]."""
        n = self.size
        return _sent(np.arange(n) + n * mirrored, self.device)


def normalise(images: Tensor) -> Tensor:
    """uint8 0..255 to float32 in [-1, 1], the range of tanh."""
    return images.float().div_(127.5).sub_(1.0)


def _finished(images: Tensor, side: Tensor | None) -> Tensor:
    """Choose each image or its mirror, left to right, and normalise."""
    if side is not None:
        images = torch.cat([images, images.flip(-1)]).index_select(0, side)
    return normalise(images)


def _take_over(device: torch.device, arrived: torch.cuda.Event, *copied: Tensor | None) -> None:
    """Make the training's stream wait for another's copies, which are not reused before it ends."""
    stream = torch.cuda.current_stream(device)
    stream.wait_event(arrived)
    for tensor in copied:
        if tensor is not None:
            tensor.record_stream(stream)


def _sent(array: NDArray[np.int64], device: torch.device) -> Tensor:
    """Numbers on the device; nothing waits for the copy."""
    tensor = torch.from_numpy(array)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def _stays(split: Split, wanted: str, device: torch.device, budget_bytes: int | None) -> bool:
    """Tell whether the split is kept on the device; the log says so, and why."""
    size = int(np.prod(split.shape))
    free = free_bytes(device)
    budget = int(free * RESIDENT_SHARE) if budget_bytes is None else budget_bytes
    stays = size <= budget if wanted == "auto" else wanted == "resident"
    if stays and size > free:
        raise _does_not_fit(split.shape, device, free)
    log.info(
        "train.data: %s%s: %s images, %s; up to %s may be kept on %s",
        "resident" if stays else "streamed", " (auto)" if wanted == "auto" else "",
        f"{len(split):,}", _megabytes(size), _megabytes(budget), _place(device),
    )  # fmt: skip
    return stays


def _does_not_fit(shape: tuple[int, ...], device: torch.device, free: int) -> DeviceError:
    return DeviceError(
        f"train.data: the training images take {_megabytes(int(np.prod(shape)))} and "
        f"{_megabytes(free)} are free on {_place(device)}. Use train.data: streamed."
    )


def _place(device: torch.device) -> str:
    return "the CPU" if device.type == "cpu" else str(device)


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"

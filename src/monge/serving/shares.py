"""A large batch on a CPU, cut into one share a core, each drawn by one thread.

ONNX Runtime shares out the work of one operator after the other among its threads, and its
transposed convolution goes image by image, so that narrow layers leave cores waiting. Shares of a
batch do not wait for each other. An image has the same bits either way, so that a stopwatch may
decide: for what takes a fraction of a millisecond, handing it over costs more than it gains.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Feeds = Mapping[str, NDArray[Any]]

EACH = 8
"""Images of a share at least: wide layers lose by fewer."""

WORTH_S = 0.001
"""A batch that takes less as a whole is left whole."""

LOOKS = 3
"""Whole batches that are timed first; the quickest counts."""


def cores() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Shares:
    """Draws batches by `whole`, a session of several threads, or in shares where that pays.

    `start` opens the file once more, for one thread, when shares are wanted for the first time.
    Several threads may draw at once.
    """

    def __init__(self, whole: Any, start: Callable[[], Any], threads: int) -> None:
        self._whole, self._start, self.threads = whole, start, threads
        self._looks, self._image_s = 0, float("inf")
        self._lock = threading.Lock()
        self._single: Any = None
        self._pool: ThreadPoolExecutor

    def draw(self, feeds: Feeds) -> Images:
        """Draw n images of arrays [n, ...], one for each input."""
        count = len(next(iter(feeds.values())))
        large = count >= EACH * self.threads > EACH
        if large and self._looks >= LOOKS and count * self._image_s > WORTH_S:
            return self._in_shares(feeds)
        began_s = time.perf_counter()
        images: Images = self._whole.run(["images"], feeds)[0]
        if large:
            self._image_s = min(self._image_s, (time.perf_counter() - began_s) / count)
            self._looks += 1
        return images

    def _in_shares(self, feeds: Feeds) -> Images:
        with self._lock:
            if self._single is None:
                self._single = self._start()
                self._pool = ThreadPoolExecutor(self.threads - 1, "share")
        cut = [np.array_split(rows, self.threads) for rows in feeds.values()]
        first, *others = [dict(zip(feeds, rows, strict=True)) for rows in zip(*cut, strict=True)]
        drawn = [self._pool.submit(self._single.run, ["images"], share) for share in others]
        here = self._single.run(["images"], first)
        return np.concatenate([here[0], *(future.result()[0] for future in drawn)])

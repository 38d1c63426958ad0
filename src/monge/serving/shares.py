"""A large batch on a CPU, cut into one share a core, each drawn by one thread.

ONNX Runtime shares out the work of one operator after the other among its threads, and its
transposed convolution goes image by image, so that narrow layers leave cores waiting. Shares of a
batch do not wait for each other, and those of the next batch follow them at once. An image has the
same bits either way, so that a stopwatch may decide: for what takes a fraction of a millisecond,
handing it over costs more than it gains.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
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
"""Whole batches of about a size that are timed before one is cut; the quickest counts."""

_SURELY_S = 0.01  # of these two are enough: the first may have met a cold cache


def cores() -> int:
    """Count the processors that this process may use."""
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
        self._timed: dict[int, list[float]] = {}  # seconds for an image, by the size's power of two
        # Who asks for one thread gets one, however many callers there are.
        self._turn: AbstractContextManager[Any] = (
            threading.Lock() if threads == 1 else nullcontext()
        )
        self._lock, self._cutting = threading.Lock(), 0
        self._single: Any = None
        self._pool: ThreadPoolExecutor

    def draw(self, feeds: Feeds) -> Images:
        """Draw n images of arrays [n, ...], one for each input."""
        count = len(next(iter(feeds.values())))
        if count < EACH * self.threads or self.threads == 1:
            return self._as_one(feeds)
        timed = self._timed.setdefault(count.bit_length(), [])
        least_s = count * min(timed, default=0.0)
        enough = 2 if least_s > _SURELY_S else LOOKS
        if len(timed) >= enough and least_s > WORTH_S:
            return self._in_shares(feeds)
        began_s = time.perf_counter()
        images = self._as_one(feeds)
        if len(timed) < LOOKS:
            timed.append((time.perf_counter() - began_s) / count)
        return images

    def _as_one(self, feeds: Feeds) -> Images:
        with self._turn:
            images: Images = self._whole.run(["images"], feeds)[0]
        return images

    def _in_shares(self, feeds: Feeds) -> Images:
        cut = [np.array_split(rows, self.threads) for rows in feeds.values()]
        shares = [dict(zip(feeds, rows, strict=True)) for rows in zip(*cut, strict=True)]
        with self._lock:
            if self._single is None:
                self._single = self._start()
                self._pool = ThreadPoolExecutor(self.threads, "share")
            alone = self._cutting == 0
            self._cutting += 1
        try:
            # Beside another batch all go to the pool, in the order of the batches; alone, the first
            # need not be handed over.
            drawn = [self._pool.submit(self._one, share) for share in shares[alone:]]
            here = [self._one(share) for share in shares[:alone]]
            return np.concatenate([*here, *(future.result() for future in drawn)])
        finally:
            with self._lock:
                self._cutting -= 1

    def _one(self, share: Feeds) -> Images:
        images: Images = self._single.run(["images"], share)[0]
        return images

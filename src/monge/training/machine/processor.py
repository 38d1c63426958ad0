"""Sets the CPU up for a training: how many threads, and to keep memory that is freed."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from monge.params import TrainParams

SMALL_NETWORKS = 2_000_000
"""Below so many weights in all, handing work to a second thread costs more than it brings."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST_ON_THE_HEAP = 32 << 20  # the most that the C library takes
_KEPT = 1 << 30


@contextmanager
def processor(train: TrainParams, weights: int) -> Iterator[None]:
    """Run with `train.threads` CPU threads; 0 is one for small networks, all cores for others."""
    before = torch.get_num_threads()
    small = weights < SMALL_NETWORKS
    torch.set_num_threads(train.threads or (1 if small else before))
    keep_freed_memory()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> bool:
    """Have the C library keep what is freed, up to a GiB, for the rest of the process.

    An iteration frees as much as it takes. Given back each time, the same pages are cleared by the
    kernel again in the next: 3 to 10% of a DCGAN's iteration. Tells whether it was done: other
    libraries than glibc keep their ways.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    on_the_heap = set_option(_M_MMAP_THRESHOLD, _LARGEST_ON_THE_HEAP)
    return bool(set_option(_M_TRIM_THRESHOLD, _KEPT) and on_the_heap)

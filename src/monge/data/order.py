"""Finds the images of a batch, and which of them are mirrored, from the batch's number alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MIRRORED = 1  # a word of the random seed, so that mirrors are drawn apart from the order


class Order:
    """Seeded permutations of 0..n-1, one an epoch, end to end, cut into batches.

    A batch may begin in one epoch and end in the next, so no image is left out. It depends on
    (seed, n, batch_size, k) alone: to resume at batch k is to ask for batch k.
    """

    def __init__(self, n: int, batch_size: int, seed: int, *, flip: bool = False) -> None:
        self.n, self.batch_size, self.seed, self.flip = n, batch_size, seed, flip
        self._epochs: dict[int, tuple[NDArray[np.int64], NDArray[np.bool_] | None]] = {}

    def batches(self, k: int, count: int = 1) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
        """Images of the batches from k on, and which of them are mirrored: [count, batch_size].

        Without flips there is None in the place of the mirrors.
        """
        first, end = k * self.batch_size, (k + count) * self.batch_size
        spans = [
            (slice(max(first - epoch * self.n, 0), end - epoch * self.n), *self._epoch(epoch))
            for epoch in range(first // self.n, (end - 1) // self.n + 1)
        ]
        shape = (count, self.batch_size)
        indices = np.concatenate([images[span] for span, images, _ in spans]).reshape(shape)
        drawn = [mirrored[span] for span, _, mirrored in spans if mirrored is not None]
        return indices, np.concatenate(drawn).reshape(shape) if drawn else None

    def batch(self, k: int) -> NDArray[np.int64]:
        """Image indices of batch k: int64 [batch_size]."""
        indices, _ = self.batches(k)
        return indices.reshape(-1)

    def _epoch(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
        """The permutation int64 [n] and, with flips, which places of it are mirrored, bool [n]."""
        if epoch not in self._epochs:
            self._epochs = {e: drawn for e, drawn in self._epochs.items() if e >= epoch - 1}
            order = np.random.default_rng([self.seed, epoch]).permutation(self.n)
            mirrored = None
            if self.flip:
                coin = np.random.default_rng([self.seed, epoch, _MIRRORED])
                mirrored = coin.integers(0, 2, self.n, dtype=np.bool_)
            self._epochs[epoch] = order.astype(np.int64, copy=False), mirrored
        return self._epochs[epoch]

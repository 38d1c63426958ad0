"""Batches of real images for a training: a stateless order, so any position can be resumed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monge.data.packed import Split


class Order:
    """Which images batch k holds: seeded permutations of 0..n-1, one an epoch, end to end.

    A batch may begin in one epoch and end in the next, so no image is left out. It depends on
    (seed, n, batch_size, k) alone: to resume at batch k is to ask for batch k.
    """

    def __init__(self, n: int, batch_size: int, seed: int) -> None:
        self.n, self.batch_size, self.seed = n, batch_size, seed
        self._epochs: dict[int, NDArray[np.int64]] = {}

    def batch(self, k: int) -> NDArray[np.int64]:
        """Image indices of batch k: int64 [batch_size]."""
        first, end = k * self.batch_size, (k + 1) * self.batch_size
        parts = []
        for epoch in range(first // self.n, (end - 1) // self.n + 1):
            start = epoch * self.n
            parts.append(self._epoch(epoch)[max(first - start, 0) : end - start])
        return np.concatenate(parts)

    def _epoch(self, epoch: int) -> NDArray[np.int64]:
        if epoch not in self._epochs:
            self._epochs = {e: p for e, p in self._epochs.items() if e >= epoch - 1}
            order = np.random.default_rng([self.seed, epoch]).permutation(self.n)
            self._epochs[epoch] = order.astype(np.int64, copy=False)
        return self._epochs[epoch]


class Batches:
    """Real images [n, C, H, W] in [-1, 1] on a device, batch after batch from any position.

    On a GPU with room for it the whole split is kept there as uint8 and gathered there; otherwise
    batches are gathered from the memory-mapped file. Both give the same batches.
    """

    def __init__(self, split: Split, batch_size: int, seed: int, device: torch.device) -> None:
        self.order = Order(len(split), batch_size, seed)
        self.split = split
        self.device = device
        self.resident = _copy_if_it_fits(split, device)

    def batch(self, k: int) -> Tensor:
        """Batch k of the training: float32 [batch_size, C, H, W] in [-1, 1]."""
        indices = self.order.batch(k)
        if self.resident is not None:
            images = self.resident[torch.from_numpy(indices).to(self.device)]
        else:
            images = torch.from_numpy(self.split.take(indices)).to(self.device)
        return normalise(images)

    def starting_at(self, k: int) -> Iterator[Tensor]:
        """Batches k, k + 1, ... for ever."""
        while True:
            yield self.batch(k)
            k += 1


def normalise(images: Tensor) -> Tensor:
    """uint8 0..255 to float32 in [-1, 1], the range of tanh."""
    return images.float().div_(127.5).sub_(1.0)


def _copy_if_it_fits(split: Split, device: torch.device) -> Tensor | None:
    """The split as one uint8 tensor on a GPU if it takes at most half of what is free there."""
    if device.type != "cuda":
        return None
    free_bytes, _ = torch.cuda.mem_get_info(device)
    if sum(shard.nbytes for shard in split.shards) > free_bytes // 2:
        return None
    return torch.cat([torch.tensor(shard, device=device) for shard in split.shards])

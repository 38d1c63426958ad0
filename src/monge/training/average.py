"""The averaged generator: an exponential moving average of the weights, which is what ships."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

WARM_UP = 0.05
"""The half-life never exceeds this share of the images seen, so that the start is forgotten."""


class Average:
    """A copy of a generator whose weights follow the original's with a half-life in images.

    Batch norm's running statistics are averaged like weights: they belong to the averaged weights
    far better than the statistics of the latest weights would, and need no extra pass over data.
    """

    def __init__(self, generator: nn.Module, half_life_images: int) -> None:
        self.module = copy.deepcopy(generator).requires_grad_(False).eval()
        self.half_life_images = half_life_images
        self._floats, self._counters = _tensors(self.module)
        self._latest_floats, self._latest_counters = _tensors(generator)

    @torch.no_grad()
    def update(self, images_seen: int, batch_size: int) -> None:
        """Move towards the generator after a step over `batch_size` images."""
        half_life = min(self.half_life_images, WARM_UP * images_seen)
        keep = 0.5 ** (batch_size / half_life) if half_life > 0 else 0.0
        torch._foreach_lerp_(self._floats, self._latest_floats, 1.0 - keep)
        if self._counters:
            torch._foreach_copy_(self._counters, self._latest_counters)


def _tensors(module: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Weights and statistics, and the whole numbers (batch norm's counters), in order."""
    tensors = [tensor.data for tensor in (*module.parameters(), *module.buffers())]
    floats = [tensor for tensor in tensors if tensor.is_floating_point()]
    return floats, [tensor for tensor in tensors if not tensor.is_floating_point()]

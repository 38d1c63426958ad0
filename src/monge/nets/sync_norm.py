"""Batch norm over the shares of all ranks, on CPUs and GPUs alike (torch's own needs a GPU)."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class _Summed(torch.autograd.Function):
    """The sum over the ranks of a tensor; the gradient of each share is the sum of theirs."""

    @staticmethod
    def forward(_: Any, share: Tensor) -> Tensor:
        total = share.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return summed(gradient)


def summed(share: Tensor) -> Tensor:
    """The sum over the ranks, differentiable as often as one likes."""
    total: Tensor = _Summed.apply(share)
    return total


class SyncBatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d whose mean and variance in training are those of the whole batch.

    Every rank has a share of the same size. The sums are differentiable: the backward pass adds up
    what each rank's loss makes of them.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        over = (0, 2, 3)
        count = input.numel() // input.shape[1] * dist.get_world_size()
        mean = summed(input.sum(over)) / count
        centred = input - mean.view(1, -1, 1, 1)
        variance = summed(centred.square().sum(over)) / count
        self._follow(mean.detach(), variance.detach() * (count / (count - 1)))
        scale = torch.rsqrt(variance + self.eps)
        if not self.affine:
            return centred * scale.view(1, -1, 1, 1)
        scale = scale * self.weight
        normed: Tensor = centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return normed

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics, as nn.BatchNorm2d does."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        momentum = self.momentum if self.momentum is not None else 0.1
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)
        self.num_batches_tracked += 1

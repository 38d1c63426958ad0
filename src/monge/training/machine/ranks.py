"""Several processes that train one generator: each takes its share of every batch.

Every rank holds the same weights and draws the same random numbers for the whole batch, of which it
keeps its share; gradients are averaged between the backward pass and the optimizer's step, so the
weights stay the same without being sent. The averaging is one flat all-reduce a network. torch's
DDP is not used: it hooks into the backward pass, and the gradient penalty takes two of them.

Rank 0 writes; the others have a run that notes nothing and a folder that is thrown away.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from monge.errors import TrainingError
from monge.nets.sync_norm import SyncBatchNorm2d, summed
from monge.training.state import TrainingState

PATIENCE = timedelta(minutes=30)
"""The time that a rank waits for one that says nothing, as in a long checkpoint."""

COMPARED_EVERY = 100


@dataclass(frozen=True)
class Ranks:
    """This process among `world` of them; alone, every method does nothing."""

    rank: int = 0
    world: int = 1
    control: Any = None  # a group on the CPU, for what Python has to know

    @property
    def share(self) -> tuple[int, int]:
        """Name the part of each batch that is this rank's: (part, parts)."""
        return self.rank, self.world

    @property
    def first(self) -> bool:
        """Tell whether this is the rank that writes."""
        return self.rank == 0

    def average(self, network: nn.Module) -> None:
        """Replace every gradient by its mean over the ranks."""
        gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.world
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        means = [p.view(g.shape) for p, g in zip(parts, gradients, strict=True)]
        torch._foreach_copy_(gradients, means)

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all ranks in their order, from one's own; differentiable."""
        places = [torch.zeros_like(rows)] * self.world
        places[self.rank] = rows
        return summed(torch.cat(places))

    def mean(self, readings: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The readings of the whole batch from those of its shares; on the device."""
        if self.world == 1:
            return dict(readings)
        together = torch.stack(list(readings.values()))
        dist.all_reduce(together)
        return dict(zip(readings, (together / self.world).unbind(), strict=True))

    def agree(self, state: TrainingState, stop: object) -> bool:
        """After each iteration: whether some rank is asked to stop, so that all stop at this step.

        Raises TrainingError, every hundred steps and at the end, if weights have come apart.
        """
        if self.world == 1:
            return bool(stop)
        asked = torch.tensor([1 if stop else 0])
        dist.all_reduce(asked, dist.ReduceOp.MAX, group=self.control)
        if asked.item() or state.step % COMPARED_EVERY == 0:
            self._compare(state)
        return bool(asked.item())

    def start_together(self, state: TrainingState) -> None:
        """Give every rank the state of rank 0, which may have read it from a checkpoint."""
        if self.world == 1:
            return
        for network in state.modules.values():
            _synchronise_norms(network)
        step = torch.tensor([state.step])
        dist.broadcast(step, 0, group=self.control)
        tensors = _sent(state.tensors() if self.first else None, self.control)
        if not self.first:
            state.restore(tensors, int(step))

    def _compare(self, state: TrainingState) -> None:
        sums = [w.detach().double().sum() for n in state.networks.values() for w in n.parameters()]
        total = torch.stack(sums).sum()
        ends = torch.stack([total, -total])
        dist.all_reduce(ends, dist.ReduceOp.MAX)
        apart = float(ends.sum())
        if apart != 0.0:
            raise TrainingError(
                f"step {state.step}: the ranks' weights have come apart by {apart:.3g}. The same "
                "command goes on from the last checkpoint; if it comes back, train with fewer "
                "train.devices."
            )


def join(device: torch.device) -> Ranks:
    """The group that torchrun or `train.devices` has started; alone where neither has."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Ranks()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=PATIENCE)
    control = dist.new_group(backend="gloo", timeout=PATIENCE)
    return Ranks(dist.get_rank(), world, control)


def _sent(tensors: dict[str, Tensor] | None, group: Any) -> dict[str, Tensor]:
    """Rank 0's tensors on every rank: names, shapes and types as JSON, then one after the other."""
    listed = {n: [list(t.shape), str(t.dtype)] for n, t in (tensors or {}).items()}
    text = json.dumps(listed).encode("utf-8")
    length = torch.tensor([len(text)])
    dist.broadcast(length, 0, group=group)
    letters = torch.zeros(int(length), dtype=torch.uint8)
    if tensors is not None:
        letters = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    dist.broadcast(letters, 0, group=group)
    received = {}
    for name, (shape, kind) in json.loads(letters.numpy().tobytes()).items():
        dtype = getattr(torch, kind.removeprefix("torch."))
        tensor = torch.empty(shape, dtype=dtype) if tensors is None else tensors[name].contiguous()
        dist.broadcast(tensor, 0, group=group)
        received[name] = tensor
    return received


def _synchronise_norms(network: nn.Module) -> None:
    """Let batch norms take their statistics over the whole batch; their tensors stay."""
    for layer in network.modules():
        if type(layer) is nn.BatchNorm2d:
            layer.__class__ = SyncBatchNorm2d

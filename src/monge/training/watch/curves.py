"""Measures, at log steps only, what an iteration's own readings do not tell.

None of it uses the training's random numbers or leaves a trace in its networks, so that looking
changes no bit of it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from monge.data.batches import normalise
from monge.data.packed import PackedDataset
from monge.latents import latents
from monge.objectives import watch_of
from monge.objectives.watch import HeldOut
from monge.params import TrainParams
from monge.training import labels
from monge.training.state import TrainingState

HELD_OUT = 64
"""Held-out images that are looked at; as many as a batch has by default."""

_LATENT_SEED = 4049  # not the grids', the looks' nor the judge's


class Curves:
    """Measures the method's figures on held-out images, and the sizes of weights and gradients."""

    def __init__(self, train: TrainParams, dataset: PackedDataset, device: torch.device) -> None:
        self.train, self.device = train, device
        self.watch = watch_of(train)
        self._validation = dataset.validation

    def measure(self, state: TrainingState) -> dict[str, Tensor]:
        """Scalars that stay on the device: what the method measures, and the networks' sizes."""
        with ExitStack() as stack:
            for network in state.networks.values():
                stack.enter_context(untouched(network))
            measured = self.watch.measure(state.networks, self._held_out)
        if state.adapts:
            measured["augment_chance"] = state.noise.chance
        return {**measured, **_norms(state.networks)}

    @functools.cached_property
    def _held_out(self) -> HeldOut:
        places = self._validation.spread(HELD_OUT)
        images = torch.from_numpy(self._validation.take(places)).to(self.device)
        known = labels.of(self.train, self._validation, places, self.device)
        drawn = torch.from_numpy(latents(_LATENT_SEED, 0, len(places), self.train.latent_dim))
        return HeldOut(normalise(images), known, drawn.to(self.device))


@contextmanager
def untouched(network: nn.Module) -> Iterator[None]:
    """Run a network in training mode and put its running statistics back afterwards."""
    buffers = [buffer for buffer in network.buffers() if buffer is not None]
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)


def _norms(networks: dict[str, nn.Module]) -> dict[str, Tensor]:
    """Euclidean norms of all weights and of all gradients of each network."""
    found = {}
    for role, network in networks.items():
        weights = [weight.detach() for weight in network.parameters()]
        gradients = [w.grad for w in network.parameters() if w.grad is not None]
        found[f"{role}_weight_norm"] = _norm(weights)
        found[f"{role}_gradient_norm"] = _norm(gradients or [torch.zeros(())])
    return found


def _norm(tensors: list[Tensor]) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))
    return norm

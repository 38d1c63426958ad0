"""What is measured beside an iteration's own readings, at log steps only.

None of it uses the training's random numbers or leaves a trace in its networks, so that looking
changes no bit of it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from monge.data.batches import normalise
from monge.data.packed import PackedDataset
from monge.latents import latents
from monge.objectives import conditioned
from monge.objectives.wasserstein import wasserstein_estimate
from monge.objectives.wgan_gp import gradient_norms, interpolates
from monge.params import TrainParams
from monge.training import labels
from monge.training.state import TrainingState

HELD_OUT = 64
"""Held-out images the critic scores; as many as a batch has by default."""

_LATENT_SEED = 4049  # not the grids', the looks' nor the judge's
_AT_CLIP = 0.99


class Curves:
    """The critic on held-out images, its slope, and the sizes of weights and gradients."""

    def __init__(self, train: TrainParams, dataset: PackedDataset, device: torch.device) -> None:
        self.train, self.device = train, device
        self._validation = dataset.validation

    def measure(self, state: TrainingState) -> dict[str, Tensor]:
        """Scalars that stay on the device.

        `wasserstein_estimate_held_out` is the critic's estimate with held-out real images: how far
        it lies below the training one is how much the critic has overfitted (Gulrajani et al.
        2017, figure 5). `gradient_norm` is its slope between held-out and generated images.
        `weights_at_clip` is the share of its weights at the ends of the clip range (figure 1).
        """
        critic, generator = state.networks["critic"], state.networks["generator"]
        real, known = self._held_out
        with untouched(generator), untouched(critic):
            with torch.no_grad():
                fake = conditioned(generator, self._latents, known)
                estimate = wasserstein_estimate(
                    conditioned(critic, real, known), conditioned(critic, fake, known)
                )
            halfway = torch.full((len(real),), 0.5, device=self.device)
            slope = gradient_norms(critic, interpolates(real, fake, halfway), known).detach().mean()
        found = {
            "wasserstein_estimate_held_out": estimate,
            "gradient_norm": slope,
            **_norms(state.networks),
        }
        if self.train.objective == "wgan":
            found["weights_at_clip"] = _share_at_clip(critic, self.train.wgan.clip)
        return found

    @functools.cached_property
    def _held_out(self) -> tuple[Tensor, Tensor | None]:
        """Images from all over the split, which may be in the order of its classes; labels."""
        count = min(HELD_OUT, len(self._validation))
        places = np.linspace(0, len(self._validation) - 1, count, dtype=np.int64)
        images = torch.from_numpy(self._validation.take(places)).to(self.device)
        return normalise(images), labels.of(self.train, self._validation, places, self.device)

    @functools.cached_property
    def _latents(self) -> Tensor:
        count = min(HELD_OUT, len(self._validation))
        drawn = latents(_LATENT_SEED, 0, count, self.train.latent_dim)
        return torch.from_numpy(drawn).to(self.device)


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


def _share_at_clip(critic: nn.Module, clip: float) -> Tensor:
    weights = [weight.detach() for weight in critic.parameters()]
    at_clip = torch.stack([(weight.abs() >= _AT_CLIP * clip).sum() for weight in weights]).sum()
    share: Tensor = at_clip / sum(weight.numel() for weight in weights)
    return share

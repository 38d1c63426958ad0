"""Watches every auto-encoder: how well images come back, and where latents are.

Its two ills: latents that tell nothing of their images, and latents that are not where the prior
is, so that what the generator draws from the prior it has never been taught.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from monge.encoding import encoding
from monge.objectives.autoencoder import Code, encode, squared_error
from monge.objectives.objective import Labels, Networks, conditioned
from monge.objectives.watch import Headline, HeldOut, Trouble
from monge.params import TrainParams

STRAY = 1.8
"""Root mean square of latents, or one over it, from which on they are not where the prior is, whose
is 1. Held ones end at 0.8 to 1.1 and begin at 1.7 at most; those that nothing holds are at 1.9 to
2.8 (the digits, 4 and 16 latents)."""

_NOISE_SEED = 2713


class AutoEncoderWatch:
    """The error of reconstructions and the divergence of the latents, on held-out images too.

    `section` is the method's, `pull` the key and value of what brings latents to the prior.
    """

    headline = Headline("reconstruction_error", "reconstruction error", "squared, an image")
    collapse_remedy: str

    def __init__(self, train: TrainParams, section: str, pull: str) -> None:
        self.latent_dim = train.latent_dim
        self.rate = f"train.{section}.learning_rate ({encoding(train).learning_rate:g})"
        self.pull = pull
        self.collapse_remedy = f"change {pull}"

    @torch.no_grad()
    def measure(self, networks: Networks, held_out: HeldOut) -> dict[str, Tensor]:
        """Both on held-out images, with the running statistics, as exported files would have."""
        real, labels = held_out.real, held_out.labels
        dice = torch.Generator().manual_seed(_NOISE_SEED)
        noise = torch.randn(held_out.latents.shape, generator=dice).to(real.device)
        with ExitStack() as stack:
            for network in networks.values():
                stack.enter_context(_evaluating(network))
            code = encode(networks["encoder"], real, self.latent_dim, noise)
            images = conditioned(networks["generator"], code.latents, labels)
            apart = self.divergence(networks, code, labels, held_out.latents)
        return {
            f"{self.headline.name}_held_out": squared_error(images, real),
            "latent_divergence_held_out": apart,
        }

    def troubles(
        self, figures: Mapping[str, float], image_shape: tuple[int, ...], patience: int
    ) -> Iterator[Trouble]:
        """Latents beside the prior, and what else a method looks for."""
        spread = math.sqrt(figures["latent_square"])
        far = spread > STRAY
        way = f"Raise {self.pull}" if far else f"Lower {self.pull}"
        yield Trouble(
            "stray_latents", far or spread < 1.0 / STRAY,
            f"the latents are not where the prior is: their root mean square is {spread:.3g}, the "
            f"prior's 1 (for {patience} steps or more), so the generator has never seen what it "
            f"will be asked to draw.\n{way}, or lower {self.rate}.",
        )  # fmt: skip

    def divergence(self, networks: Networks, code: Code, labels: Labels, prior: Tensor) -> Tensor:
        """Measure how far these latents are from those of the prior, as the method does."""
        raise NotImplementedError


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)

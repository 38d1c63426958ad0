"""What both Wasserstein objectives say of a training: the estimate, the slope, a critic's ills."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from monge.objectives.objective import Networks, conditioned
from monge.objectives.slope import gradient_norms, interpolates
from monge.objectives.wasserstein import wasserstein_estimate
from monge.objectives.watch import Headline, HeldOut, Trouble

ROUNDING = 4 * torch.finfo(torch.float32).eps
"""An estimate this small against the scores themselves is float32's rounding of equal scores."""

TINY_ESTIMATE = 1e-8
"""Critics clipped at 0.01 are past this in a few steps or climb; dead ones stay below."""

STEEP = 100.0
"""wgan-gp pulls the critic's slope to 1, its soft penalty lets it reach about 12 at the most."""


class WassersteinWatch:
    """The curves of the two papers, and the ways in which their critics fail."""

    headline = Headline("wasserstein_estimate", "Wasserstein estimate")

    def __init__(self, section: str, learning_rate: float) -> None:
        self.rate = f"train.{section}.learning_rate ({learning_rate:g})"
        self.collapse_remedy = f"raise train.{section}.critic_steps"

    def measure(self, networks: Networks, held_out: HeldOut) -> dict[str, Tensor]:
        """The critic's estimate on held-out images, and its slope.

        How far `wasserstein_estimate_held_out` lies below the training one is how much the critic
        has overfitted (Gulrajani et al. 2017, figure 5). `gradient_norm` is the slope halfway
        between held-out and generated images.
        """
        critic, generator = networks["critic"], networks["generator"]
        real, labels = held_out.real, held_out.labels
        with torch.no_grad():
            fake = conditioned(generator, held_out.latents, labels)
            estimate = wasserstein_estimate(
                conditioned(critic, real, labels), conditioned(critic, fake, labels)
            )
        halfway = torch.full((len(real),), 0.5, device=real.device)
        slope = gradient_norms(critic, interpolates(real, fake, halfway), labels).detach().mean()
        return {"wasserstein_estimate_held_out": estimate, "gradient_norm": slope}

    def troubles(
        self, figures: Mapping[str, float], image_shape: tuple[int, ...], patience: int
    ) -> Iterator[Trouble]:
        """A critic that scores every image alike, and one that is far too steep."""
        estimate = abs(figures["wasserstein_estimate"])
        rounding = ROUNDING * abs(figures["generator_loss"])  # the mean score of the fakes
        yield Trouble(
            "dead_critic", estimate <= max(TINY_ESTIMATE, rounding),
            "the critic is dead: real and fake images get the same score (Wasserstein estimate "
            f"{figures['wasserstein_estimate']:.3g}, largest gradient "
            f"{figures['critic_gradient']:.3g}, for {patience} steps or more).\n"
            f"{self.dead_critic_remedy()}",
            estimate,
        )  # fmt: skip
        # W is at most the slope times the largest distance of two images in [-1, 1]^d, 2 sqrt(d).
        steepest = estimate / (2.0 * math.sqrt(math.prod(image_shape)))
        slope = max(steepest, figures.get("gradient_norm", 0.0))
        yield Trouble(
            "exploding_critic", slope > STEEP,
            f"the critic is exploding: its score changes by {slope:.3g} or more a unit of distance"
            f"{self.exploding_critic_remedy()}",
        )  # fmt: skip

    def dead_critic_remedy(self) -> str:
        """A sentence on what to change."""
        return f"Its units have died: lower {self.rate}."

    def exploding_critic_remedy(self) -> str:
        """The end of a sentence, and one on what to change."""
        return f".\nLower {self.rate}."

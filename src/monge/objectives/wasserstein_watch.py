"""Watches both Wasserstein objectives: the estimate, the slope, and a critic's ills."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from monge.objectives.adversarial_watch import ROUNDING, TINY_GAP, AdversarialWatch
from monge.objectives.wasserstein import wasserstein_estimate
from monge.objectives.watch import Headline, Trouble

STEEP = 100.0
"""wgan-gp pulls the critic's slope to 1, its soft penalty lets it reach about 12 at the most."""


class WassersteinWatch(AdversarialWatch):
    """The curves of the two papers, and the ways in which their critics fail."""

    headline = Headline("wasserstein_estimate", "Wasserstein estimate", "critic units")

    def __init__(self, section: str, learning_rate: float) -> None:
        super().__init__(section, learning_rate, wasserstein_estimate)

    def troubles(
        self, figures: Mapping[str, float], image_shape: tuple[int, ...], patience: int
    ) -> Iterator[Trouble]:
        """A critic that scores every image alike, and one that is far too steep."""
        estimate = abs(figures["wasserstein_estimate"])
        rounding = ROUNDING * abs(figures["generator_loss"])  # the mean score of the fakes
        yield Trouble(
            "dead_critic", estimate <= max(TINY_GAP, rounding),
            "the critic is dead: real and fake images get the same score (Wasserstein estimate "
            f"{figures['wasserstein_estimate']:.3g}, largest gradient "
            f"{figures['critic_gradient']:.3g}, for {patience} steps or more).\n"
            f"{self.dead_remedy()}",
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

    def exploding_critic_remedy(self) -> str:
        """The end of a sentence, and one on what to change."""
        return f".\nLower {self.rate}."

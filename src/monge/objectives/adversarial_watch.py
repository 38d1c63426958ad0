"""Watches every adversarial training: its estimate, on held-out images too.

And the two ills of an opponent: it tells nothing apart, or everything.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from monge.objectives.objective import Networks, conditioned
from monge.objectives.slope import gradient_norms, interpolates
from monge.objectives.watch import Headline, HeldOut, Trouble

ROUNDING = 4 * torch.finfo(torch.float32).eps
"""A difference this small against the scores themselves is float32's rounding of equal scores."""

TINY_GAP = 1e-8
"""Scores of real and fake images closer than this are the same; a new opponent's climb past it."""

SURE = 0.8
"""The share of its maximum from which on an estimate is too sure. It stays below 0.6 where
generators learn, and is at 0.75 to 0.95 for an mlp whose generator does not (docs/lab-log.md)."""

ROWS = 11
"""Looks whose median is compared with it: an estimate jumps from one batch to the next."""


class AdversarialWatch:
    """The opponent's estimate of a divergence, and what it is when the opponent fails.

    `most` is the largest that the estimate can be, where the generator's gradient is then gone;
    None where it has no bound, or the gradient stays.
    """

    headline: Headline
    opponent = "critic"
    most: float | None = None

    def __init__(
        self, section: str, learning_rate: float, estimate: Callable[[Tensor, Tensor], Tensor]
    ) -> None:
        self.estimate = estimate
        self._recent: deque[float] = deque(maxlen=ROWS)
        self.rate = f"train.{section}.learning_rate ({learning_rate:g})"
        self.collapse_remedy = f"raise train.{section}.{self.opponent}_steps"

    def measure(self, networks: Networks, held_out: HeldOut) -> dict[str, Tensor]:
        """The estimate on held-out images, and the opponent's slope.

        How far the held-out estimate lies below the training one is how much the opponent has
        overfitted (Gulrajani et al. 2017, figure 5). `gradient_norm` is the norm of its gradient
        by an image, halfway between held-out and generated ones.
        """
        opponent, generator = networks[self.opponent], networks["generator"]
        real, labels = held_out.real, held_out.labels
        with torch.no_grad():
            fake = conditioned(generator, held_out.latents, labels)
            estimate = self.estimate(
                conditioned(opponent, real, labels), conditioned(opponent, fake, labels)
            )
        halfway = torch.full((len(real),), 0.5, device=real.device)
        slope = gradient_norms(opponent, interpolates(real, fake, halfway), labels).detach().mean()
        return {f"{self.headline.name}_held_out": estimate, "gradient_norm": slope}

    def troubles(
        self, figures: Mapping[str, float], image_shape: tuple[int, ...], patience: int
    ) -> Iterator[Trouble]:
        """An opponent that scores every image alike, and one that is sure of every one."""
        real, fake = figures["real_score"], figures["fake_score"]
        gap, rounding = abs(real - fake), ROUNDING * max(abs(real), abs(fake))
        yield Trouble(
            "dead_critic", gap <= max(TINY_GAP, rounding),
            f"the {self.opponent} is dead: real and fake images get the same score (mean "
            f"{fake:.3g}, largest gradient {figures[f'{self.opponent}_gradient']:.3g}, for "
            f"{patience} steps or more).\n{self.dead_remedy()}",
            gap,
        )  # fmt: skip
        if self.most is not None:
            self._recent.append(figures[self.headline.name])
            estimate = statistics.median(self._recent)
            yield Trouble(
                "vanishing_gradient", len(self._recent) == ROWS and estimate >= SURE * self.most,
                f"the generator's gradient has vanished: the {self.opponent} tells real and "
                f"fake apart ({self.headline.title} {estimate:.3f} of at most {self.most:.3f}, for "
                f"{patience} steps or more).\n{self.sure_remedy()}",
            )  # fmt: skip

    def dead_remedy(self) -> str:
        """A sentence on what to change."""
        return (
            f"Its units have died: lower {self.rate}. Where it was so from the first step on, its "
            "first weights are too small for so many layers: use fewer, or, where the net has it, "
            "critic_initialisation: he."
        )

    def sure_remedy(self) -> str:
        """A sentence on what to change."""
        raise NotImplementedError

"""Shares the difference of the mean scores, and its sign, between both Wasserstein objectives.

    W(P_r, P_g) = sup over 1-Lipschitz f of E_r[f] - E_g[f]      (Kantorovich-Rubinstein)

The critic climbs this difference, so it minimises the negative; the generator can only move the
second term, so it minimises -E_g[f]. `wasserstein_estimate` is the difference itself: positive
when the critic tells real from fake, and smaller as the generator gets better.
"""

from __future__ import annotations

from torch import Tensor, nn

from monge.objectives.adversarial import Adversarial, Readings
from monge.objectives.classifier import class_loss
from monge.objectives.objective import Execution, Labels, Networks, Optimizers, conditioned
from monge.params import NET_SECTIONS, TrainParams


def wasserstein_estimate(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """mean critic(real) - mean critic(fake), a scalar (Arjovsky et al. 2017, equation 2)."""
    return real_scores.mean() - fake_scores.mean()


class WassersteinObjective(Adversarial):
    """Algorithm 1 of Arjovsky et al. 2017 with room for a constraint."""

    def __init__(
        self, learning_rate: float, opponent_steps: int, train: TrainParams, how: Execution
    ) -> None:
        super().__init__(learning_rate, opponent_steps, train, how)
        of_net = getattr(train, NET_SECTIONS[train.net])
        names = "head_weight", "generator_head_weight"
        self.class_weights = [getattr(of_net, name, 0.0) for name in names]

    def opponent_loss(
        self, networks: Networks, real: Tensor, labels: Labels, latents: Tensor, *draws: Tensor
    ) -> tuple[Tensor, Readings]:
        """E_g[f] - E_r[f], and the terms of the constraint and of a classifier."""
        critic = networks["critic"]
        fake = self.fixed_fakes(networks, latents, labels)
        estimate = wasserstein_estimate(*self.scores(critic, real, fake, labels))
        constraint, readings = self.constraint(critic, real, fake, labels, *draws)
        loss = constraint - estimate
        of_classes = class_loss(critic, real, labels, self.how)
        if of_classes is not None:
            loss = loss + self.class_weights[0] * of_classes
            readings = {**readings, "class_loss": of_classes.detach()}
        return loss, {"wasserstein_estimate": estimate.detach(), **readings}

    def generator_loss(
        self,
        networks: Networks,
        optimizers: Optimizers,
        real: Tensor,
        labels: Labels,
        latents: Tensor,
        *draws: Tensor,
    ) -> Tensor:
        """-E_g[f], and the term of a classifier."""
        with self.how.fast():
            fake = conditioned(networks["generator"], latents, labels)
            scores = conditioned(networks["critic"], fake, labels)
        loss = -scores.to(latents.dtype).mean()
        of_classes = class_loss(networks["critic"], fake, labels, self.how)
        return loss if of_classes is None else loss + self.class_weights[1] * of_classes

    def constraint(
        self, critic: nn.Module, real: Tensor, fake: Tensor, labels: Labels, *draws: Tensor
    ) -> tuple[Tensor | float, Readings]:
        """A term added to the critic's loss, and what to log of it."""
        return 0.0, {}

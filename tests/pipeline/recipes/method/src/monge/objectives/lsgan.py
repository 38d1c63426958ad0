"""LSGAN: scores of real images are drawn to 1 and those of fakes to 0 (Mao et al. 2017).

The critic minimises E_r[(s - 1)^2] / 2 + E_g[s^2] / 2 (equation 9), whose least value is
(2 - D) / 8 with the triangular discrimination D = integral of (p_r - p_g)^2 / (p_r + p_g), so that
2 minus eight times the loss is an estimate of D from below.
"""

from __future__ import annotations

import torch
from torch import Tensor

from monge.objectives.adversarial import Adversarial, Readings
from monge.objectives.adversarial_watch import AdversarialWatch
from monge.objectives.objective import Execution, Labels, Networks, Optimizers, conditioned
from monge.objectives.optimizers import adam
from monge.objectives.watch import Headline
from monge.params import TrainParams


def least_squares(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """E_r[(s - 1)^2] / 2 + E_g[s^2] / 2, a scalar."""
    return ((real_scores - 1.0).square().mean() + fake_scores.square().mean()) / 2.0


def triangular_estimate(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """2 - 8 times the loss, a scalar of at most 2."""
    return 2.0 - 8.0 * least_squares(real_scores, fake_scores)


class LeastSquares(Adversarial):
    """Adam(0.5, 0.999) for both, as the paper's section 4."""

    def __init__(self, train: TrainParams, how: Execution) -> None:
        super().__init__(train.lsgan.learning_rate, train.lsgan.critic_steps, train, how)

    def optimizers(self, networks: Networks) -> dict[str, torch.optim.Optimizer]:
        """One for each role."""
        return adam(networks, self.rates, betas=(0.5, 0.999))

    def opponent_loss(
        self, networks: Networks, real: Tensor, labels: Labels, latents: Tensor, *draws: Tensor
    ) -> tuple[Tensor, Readings]:
        """The squares; the estimate and the mean scores to log."""
        fake = self.fixed_fakes(networks, latents, labels)
        scores = self.scores(networks["critic"], real, fake, labels)
        of_real, of_fake = (score.detach() for score in scores)
        return least_squares(*scores), {
            "triangular_estimate": triangular_estimate(of_real, of_fake),
            "real_score": of_real.mean(),
            "fake_score": of_fake.mean(),
        }

    def generator_loss(
        self,
        networks: Networks,
        optimizers: Optimizers,
        real: Tensor,
        labels: Labels,
        latents: Tensor,
        *draws: Tensor,
    ) -> Tensor:
        """E_g[(s - 1)^2] / 2."""
        with self.how.fast():
            fake = conditioned(networks["generator"], latents, labels)
            scores = conditioned(networks["critic"], fake, labels)
        return (scores.to(latents.dtype) - 1.0).square().mean() / 2.0


class LeastSquaresWatch(AdversarialWatch):
    """Its critic has no saturation to speak of."""

    headline = Headline("triangular_estimate", "triangular discrimination estimate", "at most 2")

    def __init__(self, train: TrainParams) -> None:
        super().__init__("lsgan", train.lsgan.learning_rate, triangular_estimate)

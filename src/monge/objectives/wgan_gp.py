"""WGAN-GP: the critic's gradient is held near norm 1 (Gulrajani et al. 2017, Algorithm 1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from monge.objectives.objective import Execution, Labels, Networks, Noise
from monge.objectives.optimizers import adam
from monge.objectives.slope import gradient_norms, interpolates
from monge.objectives.wasserstein import WassersteinObjective
from monge.objectives.wasserstein_watch import WassersteinWatch
from monge.params import TrainParams


class WganGp(WassersteinObjective):
    """Penalise lambda * (|grad_x f(x)| - 1)^2 at random points between real and fake images.

    The paper's lambda is 10 throughout; its code has 0.1 for the two-dimensional toys.
    """

    def __init__(self, train: TrainParams, how: Execution) -> None:
        params = train.wgan_gp
        super().__init__(params.learning_rate, params.critic_steps, train, how)
        self.penalty_weight = params.penalty_weight
        self.one_sided = params.penalty == "one-sided"

    def optimizers(self, networks: Networks) -> dict[str, torch.optim.Optimizer]:
        """Adam(0, 0.9) for both, as the paper's Algorithm 1; appendix E has a first beta of 0.5."""
        return adam(networks, self.rates, betas=(0.0, 0.9))

    def opponent_draws(self, noise: Noise, real: Tensor) -> tuple[Tensor, ...]:
        """Latents, and where between a real and a fake image each penalty is taken."""
        return noise.latents(len(real)), noise.uniform(len(real))

    def constraint(
        self, critic: nn.Module, real: Tensor, fake: Tensor, labels: Labels, *draws: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted penalty, and the mean gradient norm that it pulls towards 1.

        In float32 throughout: the penalty is a difference from 1, and its gradient a derivative of
        a derivative.
        """
        (position,) = draws
        norms = gradient_norms(critic, interpolates(real, fake, position), labels)
        penalty = self.penalty_weight * self._counted(norms - 1.0).square().mean()
        return penalty, {
            "gradient_penalty": penalty.detach(),
            "gradient_norm": norms.detach().mean(),
        }

    def _counted(self, above: Tensor) -> Tensor:
        """All of the slope's distance from 1 or, one-sided, what is above (section 4)."""
        return above.clamp(min=0.0) if self.one_sided else above


class WganGpWatch(WassersteinWatch):
    """Its critic is too steep when the penalty does not count."""

    def __init__(self, train: TrainParams) -> None:
        super().__init__("wgan-gp", train.wgan_gp.learning_rate)
        self.penalty_weight = train.wgan_gp.penalty_weight

    def exploding_critic_remedy(self) -> str:
        """The slope that is wanted, and what pulls towards it."""
        return (
            ", where about 1 is wanted.\nRaise train.wgan-gp.penalty_weight "
            f"({self.penalty_weight:g}), or lower {self.rate}."
        )

"""RpGAN with R1 and R2: each real image against a fake one, no gradient at either (R3GAN).

    L_D = E[softplus(-(D(x_r) - D(x_f)))] + E[w/2 (|grad D(x_r)|^2 + |grad D(x_f)|^2)]
    L_G = E[softplus(-(D(x_f) - D(x_r)))]         over pairs of a real and a fake image

Huang et al. 2024, equations 2 to 4, and their code, which agrees; Jolicoeur-Martineau 2019 for the
pairing. Each fake image is asked to be more real than its partner, so a mode that is left out keeps
pulling. With a constant D the first term is log 2; log 2 minus it is an estimate, from below, of a
divergence that is 0 for equal distributions and at most log 2 (Jolicoeur-Martineau 2020).

The penalty's weight goes from `penalty_weight` to `penalty_weight_end` along half a cosine, as in
their code. There Adam's second beta, the learning rate and the half-life of the generator's average
follow cosines, too: here the beta is the last of theirs throughout, the rate falls as
`train.learning_rate_decay` says, and the half-life is `train.average_half_life` as soon as that is
a twentieth of the images seen.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from monge.objectives.adversarial import Adversarial, Readings
from monge.objectives.adversarial_watch import AdversarialWatch
from monge.objectives.objective import (
    Execution,
    Labels,
    Networks,
    Noise,
    Optimizers,
    conditioned,
)
from monge.objectives.optimizers import adam
from monge.objectives.watch import Headline
from monge.params import TrainParams


def relativistic_estimate(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """log 2 minus the critic's paired loss, a scalar: 0 when pairs are not told apart."""
    return math.log(2.0) - paired_loss(real_scores, fake_scores)


def paired_loss(higher: Tensor, lower: Tensor) -> Tensor:
    """E[softplus(-(higher - lower))], a scalar: small where each score is above its partner's."""
    return F.softplus(lower - higher).mean()


class RpGan(Adversarial):
    """One critic step, Adam(0, 0.99) for both, gradients pulled to 0 at real and fake images."""

    def __init__(self, train: TrainParams, how: Execution) -> None:
        params = train.rpgan
        super().__init__(params.learning_rate, params.critic_steps, train, how)
        self.first, self.last = params.penalty_weight, params.penalty_weight_end

    def optimizers(self, networks: Networks) -> dict[str, torch.optim.Optimizer]:
        """Adam without momentum, as Huang et al. 2024, appendix."""
        return adam(networks, self.rates, betas=(0.0, 0.99))

    def opponent_draws(self, noise: Noise, real: Tensor) -> tuple[Tensor, ...]:
        """Latents, and each image's weight of the penalty: the same for all, but for the step."""
        share_left = (1.0 + torch.cos(math.pi * noise.progress)) / 2.0
        weight = self.last + (self.first - self.last) * share_left
        return noise.latents(len(real)), weight.expand(len(real))

    def opponent_loss(
        self, networks: Networks, real: Tensor, labels: Labels, latents: Tensor, *draws: Tensor
    ) -> tuple[Tensor, Readings]:
        """The paired loss and both penalties, of one pass over both kinds of image."""
        (weight,) = draws
        fake = self.fixed_fakes(networks, latents, labels)
        real, fake = real.detach().requires_grad_(), fake.requires_grad_()
        of_real, of_fake = self.scores(networks["critic"], real, fake, labels)
        squares = _squared_slopes(of_real, of_fake, real, fake)
        penalty = (weight / 2.0 * squares).mean()
        estimate = relativistic_estimate(of_real.detach(), of_fake.detach())
        return paired_loss(of_real, of_fake) + penalty, {
            "relativistic_estimate": estimate,
            "gradient_penalty": penalty.detach(),
            "real_score": of_real.detach().mean(),
            "fake_score": of_fake.detach().mean(),
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
        """The paired loss the other way round; the real images are the critic's last ones."""
        with self.how.fast():
            fake = conditioned(networks["generator"], latents, labels)
        of_real, of_fake = self.scores(networks["critic"], real, fake.to(real.dtype), labels)
        return paired_loss(of_fake, of_real)


def _squared_slopes(of_real: Tensor, of_fake: Tensor, real: Tensor, fake: Tensor) -> Tensor:
    """|grad D|^2 at a real image plus the same at its partner, [n]; the graph is kept."""
    scores = of_real.sum() + of_fake.sum()
    gradients = torch.autograd.grad(scores, (real, fake), create_graph=True)
    return sum((g.flatten(1).square().sum(1) for g in gradients), torch.zeros_like(of_real))


class RpGanWatch(AdversarialWatch):
    """Its critic gets too sure where the penalty does not hold it."""

    headline = Headline("relativistic_estimate", "relativistic estimate", "nats")
    most = math.log(2.0)

    def __init__(self, train: TrainParams) -> None:
        super().__init__("rpgan", train.rpgan.learning_rate, relativistic_estimate)
        self.penalty_weight = train.rpgan.penalty_weight

    def sure_remedy(self) -> str:
        """Name what flattens the critic."""
        return f"Raise train.rpgan.penalty_weight ({self.penalty_weight:g}), or lower {self.rate}."

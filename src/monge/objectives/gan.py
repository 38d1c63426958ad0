"""GAN: a discriminator tells real from fake, the generator deceives it (Goodfellow et al. 2014).

    min over G, max over D of  E_r[log D(x)] + E_g[log(1 - D(x))]                  (equation 1)

Scores are the logits: D(x) = sigmoid(score), and -log D(x) = softplus(-score). At the best D the
value is 2 JS(P_r, P_g) - 2 log 2, so for any D half of it plus log 2 is an estimate of JS from
below (Arjovsky et al. 2017, figure 4). The generator minimises -E_g[log D(x)] (non-saturating) or
E_g[log(1 - D(x))] (minimax), whose gradient vanishes where D is sure.

`hinge` (Miyato et al. 2018, equations 16 and 17) has the discriminator minimise
E_r[max(0, 1 - s)] + E_g[max(0, 1 + s)] and the generator -E_g[s]. Its least value is
2 - 2 TV(P_r, P_g), reached at s = sign(p_r - p_g), so that 1 minus half of it is an estimate of
the total variation.

Options of the game, each of them with any of the others:

- label_smoothing a: a real image's target is 1 - a, a fake one's stays 0 (Salimans et al. 2016,
  section 3.4). The headline stays that of the targets 1 and 0.
- instance_noise s: normal noise of this deviation on all that the discriminator sees, falling to
  none at the last step (Arjovsky and Bottou 2017, section 3; they leave the schedule open).
- feature_matching: the generator brings the mean of the discriminator's last hidden layer to that
  of real images (Salimans et al. 2016, section 3.1); of a conditional one, label by label.
- historical_averaging c: c |w - mean of its past|^2 in each player's cost (section 3.3).
- unroll_steps k: the generator's gradient goes through k steps of the discriminator (unrolled.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

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
from monge.objectives.optimizers import HistoricalAdam, adam, rate
from monge.objectives.unrolled import Ahead, ahead
from monge.objectives.watch import Headline
from monge.params import NET_SECTIONS, TrainParams

BETAS = (0.5, 0.999)
"""Adam's, of Radford et al. 2016, section 4."""

Estimate = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(real_scores: Tensor, fake_scores: Tensor, smoothing: float = 0.0) -> Tensor:
    """-E_r[(1 - a) log D + a log(1 - D)] - E_g[log(1 - D)], a scalar."""
    positives = (1.0 - smoothing) * F.softplus(-real_scores) + smoothing * F.softplus(real_scores)
    return positives.mean() + F.softplus(fake_scores).mean()


def hinge(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """E_r[max(0, 1 - s)] + E_g[max(0, 1 + s)], a scalar."""
    return F.relu(1.0 - real_scores).mean() + F.relu(1.0 + fake_scores).mean()


def jensen_shannon_estimate(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """log 2 - cross entropy / 2, a scalar of at most log 2; negative for a poor discriminator."""
    return math.log(2.0) - cross_entropy(real_scores, fake_scores) / 2.0


def total_variation_estimate(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """1 - hinge / 2, a scalar of at most 1; negative for a poor discriminator."""
    return 1.0 - hinge(real_scores, fake_scores) / 2.0


def estimate_of(loss: str) -> tuple[str, Estimate]:
    """The headline's name, and what computes it from real and fake scores."""
    if loss == "hinge":
        return "total_variation_estimate", total_variation_estimate
    return "jensen_shannon_estimate", jensen_shannon_estimate


class Gan(Adversarial):
    """One step of each by default; Adam for both."""

    roles: tuple[str, ...] = ("generator", "discriminator")

    def __init__(self, train: TrainParams, how: Execution) -> None:
        self.params = params = train.gan
        super().__init__(params.learning_rate, params.discriminator_steps, train, how)
        self.headline, self.estimate = estimate_of(params.loss)

    def optimizers(self, networks: Networks) -> dict[str, torch.optim.Optimizer]:
        """Adam(0.5, 0.999), or one that pulls towards the weights' history."""
        pull = self.params.historical_averaging
        if not pull:
            return adam(networks, self.rates, BETAS)
        return {
            role: HistoricalAdam(
                networks[role].parameters(), pull, betas=BETAS, fused=True,
                **rate(networks[role], self.rates[role]),
            )
            for role in self.roles
        }  # fmt: skip

    def opponent_draws(self, noise: Noise, real: Tensor) -> tuple[Tensor, ...]:
        """Latents, and the noise on the fake and on the real images where there is any."""
        latents = noise.latents(len(real))
        if not self.params.instance_noise:
            return (latents,)
        deviation = self.params.instance_noise * (1.0 - noise.progress)
        on_each = [noise.normal(*real.shape) * deviation for _ in range(2)]
        return latents, *on_each

    generator_draws = opponent_draws

    def opponent_loss(
        self, networks: Networks, real: Tensor, labels: Labels, latents: Tensor, *draws: Tensor
    ) -> tuple[Tensor, Readings]:
        """Cross entropy or hinge of the scores; the estimate and the mean scores to log."""
        fake = self.fixed_fakes(networks, latents, labels)
        noised = _noised(real, fake, draws)
        scores = self.scores(networks["discriminator"], *noised, labels)
        of_real, of_fake = (score.detach() for score in scores)
        return self._loss(*scores), {
            self.headline: self.estimate(of_real, of_fake),
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
        """Compute what deceives the discriminator, as it is or as it will be.

        Looking ahead is in float32: Adam divides a gradient by its own size, and roundings with it.
        """
        steps, pull = self.params.unroll_steps, self.params.historical_averaging
        precision = nullcontext if steps else self.how.fast
        with precision():
            fake = conditioned(networks["generator"], latents, labels)
        real, fake = _noised(real, fake.to(real.dtype), draws)
        discriminator: Any = networks["discriminator"]

        def loss_of(later: Ahead) -> Tensor:
            return self._loss(*self.scores(later, real, fake, labels, exact=True))

        if steps:
            own = optimizers["discriminator"]
            discriminator = ahead(discriminator, own, loss_of, steps, betas=BETAS, pull=pull)
        with precision():
            if self.params.feature_matching:
                apart = discriminator.features(real) - discriminator.features(fake)
                return _matched(apart.to(real.dtype), labels)
            scores = conditioned(discriminator, fake, labels)
        return self._deceiving(scores.to(real.dtype))

    def _loss(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        if self.params.loss == "hinge":
            return hinge(real_scores, fake_scores)
        return cross_entropy(real_scores, fake_scores, self.params.label_smoothing)

    def _deceiving(self, fake_scores: Tensor) -> Tensor:
        if self.params.loss == "hinge":
            return -fake_scores.mean()
        if self.params.loss == "minimax":
            return -F.softplus(fake_scores).mean()
        return F.softplus(-fake_scores).mean()


def _noised(real: Tensor, fake: Tensor, draws: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    if not draws:
        return real, fake
    on_fake, on_real = draws
    return real + on_real, fake + on_fake


def _matched(apart: Tensor, labels: Labels) -> Tensor:
    """|mean difference of the features|^2, of each label apart where there are labels.

    `apart` [n, k] is a real image's features minus those of a fake one with the same label, so the
    sum over labels of |sum of its rows|^2 is that of the products of any two rows of one label.
    """
    if labels is None:
        return apart.mean(0).square().sum()
    same = (labels[:, None] == labels[None, :]).to(apart.dtype)
    return ((apart @ apart.T) * same).sum() / len(apart) ** 2


class GanWatch(AdversarialWatch):
    """Its discriminator gets sure: both losses then leave the generator little to follow."""

    opponent = "discriminator"

    def __init__(self, train: TrainParams) -> None:
        self.net = NET_SECTIONS[train.net]
        name, estimate = estimate_of(train.gan.loss)
        super().__init__("gan", train.gan.learning_rate, estimate)
        if train.gan.loss == "hinge":
            self.headline = Headline(name, "total variation estimate", "at most 1")
        else:
            self.headline = Headline(name, "Jensen-Shannon estimate", "nats")
            self.most = math.log(2.0)
        self.collapse_remedy = (
            f"raise train.gan.unroll_steps ({train.gan.unroll_steps}), or use train.objective: "
            "wgan-gp or rpgan"
        )

    def sure_remedy(self) -> str:
        """Name what holds a discriminator back, or does without."""
        return (
            "Use train.objective: wgan-gp or rpgan, whose critics do not saturate; or hold the "
            "discriminator: train.gan.loss: hinge, train.gan.discriminator_steps: 5 and "
            f"train.{self.net}.critic_norm: spectral."
        )

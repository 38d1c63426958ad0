"""WAE-GAN: a discriminator tells latents of images from those of the prior, the encoder deceives.

    min over Q, G  of  E_x |x - G(z)|^2 - weight * E_z~Q_z [log D(z)]
    max over D     of  E_z~P_z [log D(z)] + E_z~Q_z [log(1 - D(z))]

Tolstikhin et al. 2018, Algorithm 1. D's scores are logits, as in gan.py, and half of its value plus
log 2 is an estimate, from below, of the Jensen-Shannon divergence of Q_z and P_z. Encoder and
generator step first and D on the latents that they had, the order of the authors' code; Algorithm 1
has D first. Their loss of D bears the weight, too, which Adam divides out again.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from monge.objectives.autoencoder import AutoEncoder, Code, Readings
from monge.objectives.autoencoder_watch import AutoEncoderWatch
from monge.objectives.gan import cross_entropy, jensen_shannon_estimate
from monge.objectives.objective import (
    Execution,
    Labels,
    Networks,
    Optimizers,
    conditioned,
)
from monge.params import TrainParams

DISCRIMINATOR = "latent_discriminator"


class WaeGan(AutoEncoder):
    """Algorithm 1 of Tolstikhin et al. 2018."""

    roles: tuple[str, ...] = ("generator", "encoder", DISCRIMINATOR)

    def __init__(self, train: TrainParams, how: Execution) -> None:
        super().__init__(train, how)
        self.weight = train.wae_gan.penalty_weight
        self.rates = {**self.rates, DISCRIMINATOR: train.wae_gan.discriminator_learning_rate}

    def loss(
        self, networks: Networks, error: Tensor, code: Code, labels: Labels, prior: Tensor
    ) -> tuple[Tensor, Readings]:
        """The squared error, and what deceives the discriminator as it is."""
        discriminator = networks[DISCRIMINATOR].requires_grad_(False)
        with self.how.fast():
            scores = conditioned(discriminator, code.latents, labels)
        deceiving = softplus(-scores.to(error.dtype)).mean()
        return error + self.weight * deceiving, {}

    def then(
        self,
        networks: Networks,
        optimizers: Optimizers,
        latents: Tensor,
        labels: Labels,
        prior: Tensor,
    ) -> Readings:
        """A step of the discriminator on the batch's latents and those of the prior."""
        discriminator = networks[DISCRIMINATOR].requires_grad_(True)
        optimizers[DISCRIMINATOR].zero_grad(set_to_none=True)
        twice = None if labels is None else torch.cat([labels, labels])
        with self.how.fast():
            scores = conditioned(discriminator, torch.cat([prior, latents]), twice)
        of_prior, of_latents = scores.to(latents.dtype).chunk(2)
        torch.autograd.backward(cross_entropy(of_prior, of_latents))
        self.update(discriminator, optimizers[DISCRIMINATOR])
        estimate = jensen_shannon_estimate(of_prior.detach(), of_latents.detach())
        return {"latent_divergence": estimate}


class WaeGanWatch(AutoEncoderWatch):
    """Its latents leave the prior where the squared error outweighs the discriminator."""

    def __init__(self, train: TrainParams) -> None:
        weight = train.wae_gan.penalty_weight
        super().__init__(train, "wae-gan", f"train.wae-gan.penalty_weight ({weight:g})")

    def divergence(self, networks: Networks, code: Code, labels: Labels, prior: Tensor) -> Tensor:
        """The discriminator's estimate for these latents, in nats, of at most log 2."""
        scores = [conditioned(networks[DISCRIMINATOR], z, labels) for z in (prior, code.latents)]
        return jensen_shannon_estimate(*scores)

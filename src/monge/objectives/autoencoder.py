"""Auto-encoders: an encoder from images to latents, and the generator back from them to images.

    min over Q, G  of  E_x E_z~Q(z|x) |x - G(z)|^2  +  weight * D(Q_z, P_z)

Tolstikhin et al. 2018, equation 4: where latents of real images are distributed as the prior, the
first term alone bounds the Wasserstein distance between real and generated images. A method says
what D is, and what both terms weigh. The squared error is summed over an image's values, as in the
paper; in the code of its authors it is multiplied by 0.05, so that a weight of theirs is one of
1/0.05 = 20 times as much here.

An encoder is deterministic, z = E(x), or Gaussian, z = m(x) + exp(v(x) / 2) * noise, where it gives
both columns [m, v]. Of a conditional training only the generator takes the labels, so that a
picture without one has latents, too; what is brought to the prior is then the joint distribution of
latents and labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from monge.eager import step
from monge.encoding import encoding, gaussian
from monge.objectives.objective import (
    Execution,
    Labels,
    Networks,
    Noise,
    Optimizers,
    Reals,
    conditioned,
)
from monge.objectives.optimizers import adam
from monge.params import TrainParams

BETAS = (0.5, 0.999)
"""Adam's, of the code of Tolstikhin et al. 2018."""

MOST_LOG_VARIANCE = 20.0
"""The bound of a Gaussian encoder, up and down: beyond it the exponential leaves float32."""

Readings = dict[str, Tensor]
Draws = Mapping[str, Tensor]
"""Random numbers by what they are for, one image's in each row."""


@dataclass(frozen=True)
class Code:
    """Latents [n, z] of images and, of a Gaussian encoder, the means and log variances [n, z]."""

    latents: Tensor
    mean: Tensor
    log_variance: Tensor | None = None


def encode(encoder: nn.Module, images: Tensor, latent_dim: int, noise: Tensor | None) -> Code:
    """The code of images [n, C, H, W]; with no noise [n, z] the latents are the means."""
    outputs = encoder(images).to(images.dtype)
    if outputs.shape[1] == latent_dim:
        return Code(outputs, outputs)
    mean, log_variance = outputs.chunk(2, 1)
    log_variance = log_variance.clamp(-MOST_LOG_VARIANCE, MOST_LOG_VARIANCE)
    if noise is None:
        return Code(mean, mean, log_variance)
    return Code(mean + (log_variance / 2.0).exp() * noise, mean, log_variance)


def squared_error(images: Tensor, real: Tensor) -> Tensor:
    """|x - G(z)|^2, the mean over images of the sum over an image's values."""
    return (images - real).square().flatten(1).sum(1).mean()


def off_prior(latents: Tensor) -> Tensor:
    """Measure latents' mean and covariance from the prior's 0 and 1: mean squares, added."""
    centred = latents - latents.mean(0)
    covariance = centred.T @ centred / (len(latents) - 1)
    wanted = torch.eye(latents.shape[1], dtype=latents.dtype, device=latents.device)
    return latents.mean(0).square().mean() + (covariance - wanted).square().mean()


class AutoEncoder:
    """One step of both networks on one batch of real images; Adam for both."""

    roles: tuple[str, ...] = ("generator", "encoder")
    batches = 1

    def __init__(self, train: TrainParams, how: Execution) -> None:
        params = encoding(train)
        self.rates: Mapping[str, float] = dict.fromkeys(self.roles, params.learning_rate)
        self.gaussian = gaussian(train)
        self.input_noise = params.input_noise
        self.warm_start = params.warm_start
        self.latent_dim = train.latent_dim
        self.how = how

    def optimizers(self, networks: Networks) -> dict[str, torch.optim.Optimizer]:
        """Adam(0.5, 0.999) for each network."""
        return adam(networks, self.rates, BETAS)

    def batches_at(self, step: int) -> int:
        """One, and in the first iteration those of the encoder's warm start."""
        return self.batches + (0 if step else self.warm_start)

    def batches_before(self, step: int) -> int:
        """Count the batches of real images that the first `step` iterations take."""
        return step * self.batches + (self.warm_start if step else 0)

    def iterate(
        self,
        networks: Networks,
        optimizers: Optimizers,
        reals: Reals,
        noise: Noise,
        batches: int,
    ) -> Readings:
        """A step of encoder and generator on the last batch; the encoder warms up on the others."""
        for _ in range(batches - self.batches):
            self._warm_up(networks["encoder"], optimizers["encoder"], next(reals)[0], noise)
        real, labels = next(reals)
        draws = self.draws(noise, real)
        latents, readings = self._step(networks, optimizers, real, labels, draws)
        return readings | self.then(networks, optimizers, latents, labels, draws["prior"])

    def draws(self, noise: Noise, real: Tensor) -> Draws:
        """The random numbers of an iteration: latents of the prior, and what noise there is."""
        n = len(real)
        drawn = {"prior": noise.latents(n)}
        if self.gaussian:
            drawn["code"] = noise.latents(n)
        if self.input_noise:
            drawn["input"] = noise.normal(n, *real.shape[1:]) * self.input_noise
        return drawn

    def _step(
        self,
        networks: Networks,
        optimizers: Optimizers,
        real: Tensor,
        labels: Labels,
        draws: Draws,
    ) -> tuple[Tensor, Readings]:
        """Step both on reconstruction and divergence; the batch's latents, and what to log."""
        pair = ("encoder", "generator")
        for role in pair:
            optimizers[role].zero_grad(set_to_none=True)
        latents, readings = [], []
        for some, theirs, drawn in self._parts(real, labels, draws):
            code = self._encoded(networks["encoder"], some, drawn)
            with self.how.fast():
                images = conditioned(networks["generator"], code.latents, theirs)
            error = squared_error(images.to(real.dtype), some)
            loss, seen = self.loss(networks, error, code, theirs, drawn["prior"])
            torch.autograd.backward(loss / self.how.parts)
            latents.append(code.latents.detach())
            seen["latent_square"] = latents[-1].square().mean()
            seen["generator_loss"] = loss.detach()
            readings.append({"reconstruction_error": error.detach(), **seen})
        for role in pair:
            self.update(networks[role], optimizers[role])
        means = {k: torch.stack([seen[k] for seen in readings]).mean() for k in readings[0]}
        return torch.cat(latents), means

    def _warm_up(
        self, encoder: nn.Module, optimizer: torch.optim.Optimizer, real: Tensor, noise: Noise
    ) -> None:
        """Bring mean and covariance of the latents to the prior's, as the authors' code does."""
        optimizer.zero_grad(set_to_none=True)
        code = self._encoded(encoder, real, self.draws(noise, real))
        torch.autograd.backward(off_prior(self.together(code.latents)))
        self.update(encoder, optimizer)

    def _encoded(self, encoder: nn.Module, real: Tensor, draws: Draws) -> Code:
        seen = real + draws["input"] if "input" in draws else real
        with self.how.fast():
            return encode(encoder, seen, self.latent_dim, draws.get("code"))

    def _parts(
        self, real: Tensor, labels: Labels, draws: Draws
    ) -> list[tuple[Tensor, Labels, Draws]]:
        """The batch in the parts that are computed one after the other."""
        parts = self.how.parts
        theirs = [None] * parts if labels is None else labels.chunk(parts)
        drawn = {name: tensor.chunk(parts) for name, tensor in draws.items()}
        each = [{name: chunks[i] for name, chunks in drawn.items()} for i in range(parts)]
        return list(zip(real.chunk(parts), theirs, each, strict=True))

    def update(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """A step of one network, with the ranks' gradients made one."""
        if self.how.average is not None:
            self.how.average(network)
        step(optimizer)

    def together(self, rows: Tensor) -> Tensor:
        """The rows of the whole batch from those of this rank."""
        return rows if self.how.gather is None else self.how.gather(rows)

    def loss(
        self, networks: Networks, error: Tensor, code: Code, labels: Labels, prior: Tensor
    ) -> tuple[Tensor, Readings]:
        """Compute what encoder and generator minimise, and the latents' divergence, to log."""
        raise NotImplementedError

    def then(
        self,
        networks: Networks,
        optimizers: Optimizers,
        latents: Tensor,
        labels: Labels,
        prior: Tensor,
    ) -> Readings:
        """Train another network on the latents of the batch, and give what to log of it."""
        return {}

"""Networks: `build(role, train, image_shape)` gives the network of a role at any resolution."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from monge.encoding import gaussian
from monge.errors import InputError
from monge.nets import dcgan, mlp, resnet
from monge.nets.latents import LatentDiscriminator
from monge.nets.virtual import at_rest
from monge.params import TrainParams

__all__ = ["FAMILIES", "at_rest", "build", "encoded", "inputs", "takes_labels"]

Shape = tuple[int, int, int]
Build = Callable[[TrainParams, Shape, int], nn.Module]


def build(role: str, train: TrainParams, image_shape: Shape, classes: int = 0) -> nn.Module:
    """One network of the family `train.net` for images of shape (C, H, W).

    A generator maps latents [n, z] to images [n, C, H, W] in [-1, 1]; a critic maps images to
    scores [n], a latent discriminator latents to scores. With `classes` these take labels int64 [n]
    as well. An encoder maps images to latents [n, z] or, where it is Gaussian, to their means and
    log variances [n, 2 z], and takes no labels. All keep their layers in order in `.net`, which is
    what export walks. Raises InputError for a role that the family lacks.
    """
    family = FAMILIES[train.net]
    if role not in family:
        raise InputError(
            f"train.net: {train.net} has no {role}, which train.objective: {train.objective} "
            f"trains. It has: {', '.join(sorted(family))}. Use another net or objective."
        )
    return family[role](train, image_shape, classes)


def _dcgan_generator(train: TrainParams, image_shape: Shape, classes: int) -> nn.Module:
    z, f, norm = train.latent_dim, train.dcgan.features, train.dcgan.generator_norm
    return dcgan.Generator(z, image_shape, f, classes=classes, norm=norm)


def _plain_generator(train: TrainParams, image_shape: Shape, classes: int) -> nn.Module:
    z, f = train.latent_dim, train.dcgan.features
    return dcgan.Generator(z, image_shape, f, plain=True, classes=classes)


def _dcgan_critic(train: TrainParams, image_shape: Shape, classes: int) -> nn.Module:
    features, how = _beside(train), train.dcgan
    norm, kernels, initial = how.critic_norm, how.minibatch_kernels, how.critic_initialisation
    return dcgan.Critic(image_shape, features, norm, classes, kernels, initial)


def _mlp_generator(train: TrainParams, image_shape: Shape, classes: int) -> nn.Module:
    z, how = train.latent_dim, train.mlp
    return mlp.Generator(z, image_shape, how.depth, how.width, classes, how.generator_norm)


def _mlp_critic(train: TrainParams, image_shape: Shape, classes: int) -> nn.Module:
    width = train.mlp.critic_width or train.mlp.width
    how = train.mlp
    norm, kernels, initial = how.critic_norm, how.minibatch_kernels, how.critic_initialisation
    return mlp.Critic(image_shape, how.depth, width, norm, classes, kernels, initial)


def _resnet_generator(train: TrainParams, image_shape: Shape, classes: int) -> nn.Module:
    how = train.resnet
    return resnet.Generator(train.latent_dim, image_shape, how.features, how.upsample, classes)


def _resnet_critic(train: TrainParams, image_shape: Shape, classes: int) -> nn.Module:
    how = train.resnet
    classifies = classes and how.head == "classifier"
    kind = resnet.ClassifyingCritic if classifies else resnet.Critic
    return kind(image_shape, how.critic_features or how.features, how.critic_norm, classes)


def _resnet_encoder(train: TrainParams, image_shape: Shape, classes: int) -> nn.Module:
    how = train.resnet
    return resnet.Encoder(image_shape, how.critic_features or how.features, encoded(train))


def _dcgan_encoder(train: TrainParams, image_shape: Shape, classes: int) -> nn.Module:
    return dcgan.Encoder(image_shape, _beside(train), encoded(train))


def _plain_encoder(train: TrainParams, image_shape: Shape, classes: int) -> nn.Module:
    return dcgan.Encoder(image_shape, _beside(train), encoded(train), plain=True)


def _mlp_encoder(train: TrainParams, image_shape: Shape, classes: int) -> nn.Module:
    width = train.mlp.critic_width or train.mlp.width
    return mlp.Encoder(image_shape, train.mlp.depth, width, encoded(train))


def _beside(train: TrainParams) -> int:
    """f of the convolutional network beside the generator, whichever it is."""
    return train.dcgan.critic_features or train.dcgan.features


def encoded(train: TrainParams) -> int:
    """Count the numbers that an encoder gives for an image."""
    return train.latent_dim * (2 if gaussian(train) else 1)


def _latent_discriminator(train: TrainParams, image_shape: Shape, classes: int) -> nn.Module:
    how = train.wae_gan
    depth, width = how.discriminator_depth, how.discriminator_width
    return LatentDiscriminator(train.latent_dim, depth, width, classes)


FAMILIES: dict[str, dict[str, Build]] = {
    "dcgan": {
        "generator": _dcgan_generator, "critic": _dcgan_critic, "discriminator": _dcgan_critic,
        "encoder": _dcgan_encoder, "latent_discriminator": _latent_discriminator,
    },
    "dcgan-plain": {
        "generator": _plain_generator, "critic": _dcgan_critic, "discriminator": _dcgan_critic,
        "encoder": _plain_encoder, "latent_discriminator": _latent_discriminator,
    },
    "mlp": {
        "generator": _mlp_generator, "critic": _mlp_critic, "discriminator": _mlp_critic,
        "encoder": _mlp_encoder, "latent_discriminator": _latent_discriminator,
    },
    "resnet": {
        "generator": _resnet_generator, "critic": _resnet_critic, "discriminator": _resnet_critic,
        "encoder": _resnet_encoder, "latent_discriminator": _latent_discriminator,
    },
}  # fmt: skip
"""Each name of `train.net`, and what builds its networks. A discriminator is a critic whose score
is the logit of a probability."""


def inputs(role: str, train: TrainParams, image_shape: Shape) -> tuple[int, ...]:
    """The shape of what a role's network takes, without the batch and beside labels."""
    return (train.latent_dim,) if role in _FROM_LATENTS else image_shape


def takes_labels(role: str) -> bool:
    """Tell whether a role's network takes labels in a conditional training."""
    return role != "encoder"


_FROM_LATENTS = ("generator", "latent_discriminator")

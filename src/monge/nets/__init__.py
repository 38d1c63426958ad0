"""Networks: `build(role, train, image_shape)` gives a generator or a critic at any resolution."""

from __future__ import annotations

from typing import Literal

from torch import nn

from monge.nets import dcgan, mlp
from monge.params import TrainParams

Role = Literal["generator", "critic"]


def build(role: Role, train: TrainParams, image_shape: tuple[int, int, int]) -> nn.Module:
    """One network of the family `train.net` for images of shape (C, H, W).

    A generator maps latents [n, z] to images [n, C, H, W] in [-1, 1]; a critic maps images to
    scores [n]. Both keep their layers in order in `.net`, which is what export walks.
    """
    if train.net == "mlp":
        if role == "generator":
            return mlp.Generator(train.latent_dim, image_shape, train.mlp.depth, train.mlp.width)
        return mlp.Critic(image_shape, train.mlp.depth, train.mlp.width)
    if role == "critic":
        return dcgan.Critic(image_shape, train.dcgan.features, train.dcgan.critic_norm)
    plain = train.net == "dcgan-plain"
    return dcgan.Generator(train.latent_dim, image_shape, train.dcgan.features, plain=plain)

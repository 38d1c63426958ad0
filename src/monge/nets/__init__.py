"""Networks: `build(role, train, image_shape)` gives a generator or a critic at any resolution."""

from __future__ import annotations

from typing import Literal

from torch import nn

from monge.nets import dcgan, mlp
from monge.params import TrainParams

Role = Literal["generator", "critic"]


def build(
    role: Role, train: TrainParams, image_shape: tuple[int, int, int], classes: int = 0
) -> nn.Module:
    """One network of the family `train.net` for images of shape (C, H, W).

    A generator maps latents [n, z] to images [n, C, H, W] in [-1, 1]; a critic maps images to
    scores [n]. With `classes` both take labels int64 [n] as well. Both keep their layers in order
    in `.net`, which is what export walks.
    """
    z, f = train.latent_dim, train.dcgan.features
    if train.net == "mlp":
        depth, width = train.mlp.depth, train.mlp.width
        if role == "generator":
            return mlp.Generator(z, image_shape, depth, width, classes)
        return mlp.Critic(image_shape, depth, width, classes)
    if role == "critic":
        return dcgan.Critic(image_shape, f, train.dcgan.critic_norm, classes)
    plain = train.net == "dcgan-plain"
    return dcgan.Generator(z, image_shape, f, plain=plain, classes=classes)

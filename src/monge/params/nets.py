"""A section for each family of networks, and the table from a net to its own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from monge.params.section import Section

NET_SECTIONS = {
    "dcgan": "dcgan",
    "dcgan-plain": "dcgan",
    "mlp": "mlp",
    "resnet": "resnet",
}
"""Each name of `train.net`, and its section of `train`: a training rests on no other one."""


class MlpParams(Section):
    """A multilayer perceptron on both sides (WGAN paper, figure 7: 4 layers of 512)."""

    depth: Annotated[int, Field(ge=1, le=64)] = 4
    width: Annotated[int, Field(ge=1, le=65536)] = 512
    critic_width: Annotated[int, Field(ge=0, le=65536)] = 0
    generator_norm: Literal["none", "virtual"] = "none"
    critic_norm: Literal["none", "spectral"] = "none"
    critic_initialisation: Literal["small", "he"] = "small"
    minibatch_kernels: Annotated[int, Field(ge=0, le=4096)] = 0


class DcganParams(Section):
    """Both convolutional families: `features` is f in the widths 16f, 8f, 4f, 2f."""

    features: Annotated[int, Field(ge=1, le=1024)] = 64
    critic_features: Annotated[int, Field(ge=0, le=1024)] = 0
    generator_norm: Literal["batch", "virtual"] = "batch"
    critic_norm: Literal["instance", "batch", "spectral", "none"] = "instance"
    critic_initialisation: Literal["small", "he"] = "small"
    minibatch_kernels: Annotated[int, Field(ge=0, le=4096)] = 0


class ResnetParams(Section):
    """Residual networks of Gulrajani et al. 2017: `features` is their DIM."""

    features: Annotated[int, Field(ge=1, le=1024)] = 64
    critic_features: Annotated[int, Field(ge=0, le=1024)] = 0
    critic_norm: Literal["auto", "none", "layer", "spectral"] = "auto"
    upsample: Literal["first", "second"] = "first"
    head: Literal["projection", "classifier"] = "projection"
    head_weight: Annotated[float, Field(ge=0.0, le=1e6)] = 1.0
    generator_head_weight: Annotated[float, Field(ge=0.0, le=1e6)] = 0.1


class NetSections(Section):
    """The sections of `train` for nets: one for each family, whichever is used."""

    mlp: MlpParams = MlpParams()
    dcgan: DcganParams = DcganParams()
    resnet: ResnetParams = ResnetParams()

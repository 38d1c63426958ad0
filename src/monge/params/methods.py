"""A section for each method, with its paper's values, and the table from a method to its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from monge.params.section import LearningRate, OpponentSteps, Section

OBJECTIVE_SECTIONS = {
    "wgan": "wgan",
    "wgan-gp": "wgan-gp",
    "gan": "gan",
    "rpgan": "rpgan",
    "vae": "vae",
    "wae-mmd": "wae-mmd",
    "wae-gan": "wae-gan",
}
"""Each name of `train.objective`, and its section of `train`."""


PenaltyWeight = Annotated[float, Field(gt=0.0, le=1e6)]


class WganParams(Section):
    """Arjovsky et al. 2017, Algorithm 1."""

    learning_rate: LearningRate = 5e-5
    critic_steps: OpponentSteps = 5
    clip: Annotated[float, Field(ge=0.0, le=10.0)] = 0.01


class WganGpParams(Section):
    """Gulrajani et al. 2017, Algorithm 1."""

    learning_rate: LearningRate = 1e-4
    critic_steps: OpponentSteps = 5
    penalty_weight: PenaltyWeight = 10.0
    penalty: Literal["two-sided", "one-sided"] = "two-sided"


class GanParams(Section):
    """Goodfellow et al. 2014, with the optimizer of Radford et al. 2016."""

    learning_rate: LearningRate = 2e-4
    discriminator_steps: OpponentSteps = 1
    loss: Literal["non-saturating", "minimax", "hinge"] = "non-saturating"
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.0
    instance_noise: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0
    feature_matching: bool = False
    historical_averaging: Annotated[float, Field(ge=0.0, le=1e6)] = 0.0
    unroll_steps: Annotated[int, Field(ge=0, le=100)] = 0


class RpganParams(Section):
    """Huang et al. 2024 (R3GAN)."""

    learning_rate: LearningRate = 2e-4
    critic_steps: OpponentSteps = 1
    penalty_weight: PenaltyWeight = 1.0
    penalty_weight_end: PenaltyWeight = 1.0


class EncoderParams(Section):
    """The parameters of every method with an encoder, from the code of Tolstikhin et al. 2018."""

    learning_rate: LearningRate = 1e-3
    input_noise: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0
    warm_start: Annotated[int, Field(ge=0, le=10_000)] = 0


class VaeParams(EncoderParams):
    """Kingma and Welling 2014."""

    decoder_deviation: Annotated[float, Field(gt=0.0, le=100.0)] = 0.3


class WaeParams(EncoderParams):
    """Tolstikhin et al. 2018, both of its methods."""

    encoder: Literal["deterministic", "gaussian"] = "deterministic"
    penalty_weight: PenaltyWeight = 10.0


class WaeMmdParams(WaeParams):
    """Tolstikhin et al. 2018, Algorithm 2."""

    kernel: Literal["one", "seven"] = "one"


class WaeGanParams(WaeParams):
    """Tolstikhin et al. 2018, Algorithm 1; the discriminator of their networks for digits."""

    discriminator_learning_rate: LearningRate = 5e-4
    discriminator_depth: Annotated[int, Field(ge=1, le=64)] = 4
    discriminator_width: Annotated[int, Field(ge=1, le=65536)] = 512


class MethodSections(Section):
    """The sections of `train` for methods: one for each, whichever is used."""

    wgan: WganParams = WganParams()
    wgan_gp: WganGpParams = Field(default=WganGpParams(), alias="wgan-gp")
    gan: GanParams = GanParams()
    rpgan: RpganParams = RpganParams()
    vae: VaeParams = VaeParams()
    wae_mmd: WaeMmdParams = Field(default=WaeMmdParams(), alias="wae-mmd")
    wae_gan: WaeGanParams = Field(default=WaeGanParams(), alias="wae-gan")


ENCODES = frozenset({"vae", "wae-mmd", "wae-gan"})
"""The methods that train an encoder, from images to latents, and no critic of images."""

PENALISES_EACH = frozenset({"wgan-gp", "rpgan"})
"""Those whose penalty is on each image's own gradient: no layer may tie a batch together."""

COMPARES_ALL = frozenset({"wae-mmd"})
"""Those whose loss compares all latents of a batch, which its parts do not sum up to."""

CLASSIFIES = ("wgan", "wgan-gp")
"""Those that go with a critic that names classes."""


def anneals(section: Mapping[str, Any]) -> bool:
    """Tell whether a method's losses follow the share of `train.steps` that is done."""
    weight = section.get("penalty_weight")
    return (
        bool(section.get("instance_noise")) or section.get("penalty_weight_end", weight) != weight
    )

"""The section `train`: the networks, the method, and how long."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from monge.params.methods import OBJECTIVE_SECTIONS, MethodSections
from monge.params.nets import NET_SECTIONS, NetSections
from monge.params.section import Line, Section, Seed


class GuardParams(Section):
    """The reactions to a training that goes wrong."""

    patience: Annotated[int, Field(ge=1)] = 200
    on_divergence: Literal["fail", "retry"] = "fail"
    on_dead_critic: Literal["fail", "warn"] = "fail"
    on_vanishing_gradient: Literal["fail", "warn"] = "fail"
    on_posterior_collapse: Literal["fail", "warn"] = "fail"
    on_stray_latents: Literal["fail", "warn"] = "warn"
    on_frozen_generator: Literal["fail", "warn"] = "fail"
    on_exploding_critic: Literal["fail", "warn"] = "warn"
    on_collapse: Literal["fail", "warn"] = "warn"


class TrainParams(NetSections, MethodSections):
    """The networks, the objective, and how long; beside them the sections of both."""

    net: Literal[tuple(NET_SECTIONS)] = "mlp"  # type: ignore[valid-type]
    objective: Literal[tuple(OBJECTIVE_SECTIONS)] = "wgan-gp"  # type: ignore[valid-type]
    conditional: bool = False
    latent_dim: Annotated[int, Field(ge=1, le=4096)] = 64
    steps: Annotated[int, Field(ge=1, le=1_000_000_000)] = 4000
    batch_size: Annotated[int, Field(ge=2, le=65536)] = 64
    accumulate: Annotated[int, Field(ge=1, le=65536)] = 1
    flip: bool = False
    augment: Literal["none", "diffaugment", "ada"] = "none"
    data: Literal["auto", "resident", "streamed"] = "auto"
    extra_critic_steps: Literal["none", "authors"] = "none"
    learning_rate_decay: Literal["none", "linear", "exponential", "steps"] = "linear"
    average_half_life: Annotated[int, Field(ge=0)] = 20_000
    init_from: Line = ""
    seed: Seed = 0
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    devices: Annotated[int, Field(ge=1, le=4096)] = 1
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "auto"
    capture: Literal["auto", "off", "graph"] = "auto"
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    log_every: Annotated[int, Field(ge=1)] = 50
    grid_every: Annotated[int, Field(ge=1)] = 500
    quality_every: Annotated[int, Field(ge=1)] = 500
    checkpoint_every: Annotated[int, Field(ge=1)] = 500
    checkpoint_every_minutes: Annotated[float, Field(gt=0.0, le=1e6)] = 10.0
    keep_checkpoints: Annotated[int, Field(ge=1, le=1000)] = 3
    guards: GuardParams = GuardParams()

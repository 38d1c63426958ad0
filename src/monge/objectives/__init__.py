"""Objectives: what is minimised, which networks that takes, and how one iteration updates them."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from monge.objectives.objective import Execution, Noise, Objective, Reals, conditioned
from monge.objectives.schedule import CriticSchedule
from monge.objectives.watch import Watch
from monge.objectives.wgan import Wgan, WganWatch
from monge.objectives.wgan_gp import WganGp, WganGpWatch
from monge.params import TrainParams

__all__ = [
    "METHODS", "WATCHES", "Execution", "Noise", "Objective", "Reals", "Watch", "build",
    "conditioned", "watch_of",
]  # fmt: skip

METHODS: dict[str, tuple[Callable[..., Objective], Callable[[TrainParams], Any]]] = {
    "wgan": (Wgan, attrgetter("wgan")),
    "wgan-gp": (WganGp, attrgetter("wgan_gp")),
}
"""Each name of `train.objective`: the method, and its own section of the parameters."""

WATCHES: dict[str, Callable[..., Watch]] = {"wgan": WganWatch, "wgan-gp": WganGpWatch}
"""By the same names: what each method says of its trainings. It decides none of their weights."""


def build(train: TrainParams, how: Execution | None = None) -> Objective:
    """The objective that `train.objective` names, with its own section of parameters."""
    method, section_of = METHODS[train.objective]
    section = section_of(train)
    schedule = CriticSchedule(section.critic_steps, train.extra_critic_steps == "authors")
    how = how or Execution(parts=train.accumulate)
    return method(section, schedule, how, one_pass=_one_pass(train))


def watch_of(train: TrainParams) -> Watch:
    """What the method that `train.objective` names says of its trainings."""
    _, section_of = METHODS[train.objective]
    return WATCHES[train.objective](section_of(train))


def _one_pass(train: TrainParams) -> bool:
    """Whether the critic may see real and fake images in one batch: not with batch statistics."""
    return train.net == "mlp" or train.dcgan.critic_norm != "batch"

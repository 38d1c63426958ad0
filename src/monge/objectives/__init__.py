"""Objectives: what is minimised, which networks that takes, and how one iteration updates them."""

from __future__ import annotations

from monge.objectives.objective import Execution, Noise, Objective, Reals, conditioned
from monge.objectives.schedule import CriticSchedule
from monge.objectives.wgan import Wgan
from monge.objectives.wgan_gp import WganGp
from monge.params import TrainParams

__all__ = ["Execution", "Noise", "Objective", "Reals", "build", "conditioned"]


def build(train: TrainParams, how: Execution | None = None) -> Objective:
    """The objective that `train.objective` names, with its own section of parameters."""
    section = train.wgan if train.objective == "wgan" else train.wgan_gp
    schedule = CriticSchedule(section.critic_steps, train.extra_critic_steps == "authors")
    how = how or Execution(parts=train.accumulate)
    if train.objective == "wgan":
        return Wgan(train.wgan, schedule, how, one_pass=_one_pass(train))
    return WganGp(train.wgan_gp, schedule, how, one_pass=_one_pass(train))


def _one_pass(train: TrainParams) -> bool:
    """Whether the critic may see real and fake images in one batch: not with batch statistics."""
    return train.net == "mlp" or train.dcgan.critic_norm != "batch"

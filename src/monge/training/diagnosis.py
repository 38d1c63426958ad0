"""What to tell a person whose training has gone wrong: what was seen, why, and what to change."""

from __future__ import annotations

from collections.abc import Mapping

from monge.params import TrainParams

_TINY_GRADIENT = 1e-8
"""RMSProp and Adam add this to what they divide by: a smaller gradient hardly moves a weight."""


def rate(train: TrainParams) -> str:
    """The learning rate's key and value."""
    section = train.wgan if train.objective == "wgan" else train.wgan_gp
    return f"train.{train.objective}.learning_rate ({section.learning_rate:g})"


def divergence(train: TrainParams, halved_from: int | None) -> str:
    """After a number stopped being finite; `halved_from` is the step of an earlier retry."""
    afresh = f"Lower {rate(train)} and start afresh with `monge train --fresh`"
    if halved_from is not None:
        return f"{afresh}."
    return (
        f"{afresh}, or set train.guards.on_divergence: retry, which goes on from the last "
        "checkpoint with half the learning rate."
    )


def dead_critic(train: TrainParams, figures: Mapping[str, float]) -> str:
    """Scores that do not depend on the image."""
    seen = (
        "the critic is dead: real and fake images get the same score (Wasserstein estimate "
        f"{figures['wasserstein_estimate']:.3g}, largest gradient "
        f"{figures['critic_gradient']:.3g}, for {train.guards.patience} steps or more)."
    )
    if train.objective == "wgan":
        return (
            f"{seen}\ntrain.wgan.clip: {train.wgan.clip:g} is too tight for so deep a critic: "
            "raise it, or use train.objective: wgan-gp."
        )
    return f"{seen}\nIts units have died: lower {rate(train)}."


def exploding_critic(train: TrainParams, slope: float) -> str:
    """A critic that is at least this steep."""
    seen = f"the critic is exploding: its score changes by {slope:.3g} or more a unit of distance"
    if train.objective == "wgan":
        return f"{seen}.\nLower train.wgan.clip ({train.wgan.clip:g}) or {rate(train)}."
    return (
        f"{seen}, where about 1 is wanted.\nRaise train.wgan-gp.penalty_weight "
        f"({train.wgan_gp.penalty_weight:g}), or lower {rate(train)}."
    )


def frozen_generator(train: TrainParams, gradient: float) -> str:
    """Weights that stay as they are; `gradient` is the largest in magnitude."""
    seen = (
        f"the generator is frozen: none of its weights has moved for {train.guards.patience} "
        f"steps or more (largest gradient {gradient:.3g})."
    )
    if gradient > _TINY_GRADIENT:
        return f"{seen}\nRaise {rate(train)}: its steps are lost in rounding."
    return f"{seen}\nNothing reaches it: it or the critic has saturated. Lower {rate(train)}."


def collapse(train: TrainParams, generated: float, data: float) -> str:
    """Mean distances between generated and between training images."""
    return (
        f"the generator has collapsed: its images are all alike (mean distance {generated:.3g}, "
        f"between training images {data:.3g}).\nLower {rate(train)}, or raise "
        f"train.{train.objective}.critic_steps."
    )

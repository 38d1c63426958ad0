"""A section for each method, with its paper's values, and the table from a method to its own."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from monge.params.section import LearningRate, OpponentSteps, Section

OBJECTIVE_SECTIONS = {"wgan": "wgan", "wgan-gp": "wgan-gp"}
"""Each name of `train.objective`, and its section of `train`."""


class WganParams(Section):
    """Arjovsky et al. 2017, Algorithm 1."""

    learning_rate: LearningRate = 5e-5
    critic_steps: OpponentSteps = 5
    clip: Annotated[float, Field(gt=0.0, le=10.0)] = 0.01


class WganGpParams(Section):
    """Gulrajani et al. 2017, Algorithm 1."""

    learning_rate: LearningRate = 1e-4
    critic_steps: OpponentSteps = 5
    penalty_weight: Annotated[float, Field(gt=0.0, le=1e6)] = 10.0

"""The base of every section of the parameters: a frozen model, and types of values."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _one_line(text: str) -> str:
    """Refuse control characters: what holds them cannot stand on a command line of DVC's."""
    if any(ord(character) < 32 for character in text):
        raise ValueError("must be one line")
    return text


Line = Annotated[str, AfterValidator(_one_line)]

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
LearningRate = Annotated[float, Field(gt=0.0, le=1.0)]
OpponentSteps = Annotated[int, Field(ge=1, le=1000)]
"""Steps of the critic, or of the discriminator, before one of the generator."""


class Section(BaseModel):
    """A frozen section that refuses unknown keys and does not convert types on the quiet."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

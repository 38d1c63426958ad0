"""The section `evaluate`: how it is judged."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from monge.params.section import Section, Seed


class EvaluateParams(Section):
    """The evidence that the judgement rests on."""

    images: Annotated[int, Field(ge=50, le=1_000_000)] = 5000
    transport_images: Annotated[int, Field(ge=10, le=10_000)] = 1000
    projections: Annotated[int, Field(ge=1, le=100_000)] = 512
    repeats: Annotated[int, Field(ge=2, le=1000)] = 5
    features: Literal["auto", "classifier", "pretrained", "random", "pixels", "inception"] = "auto"
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 256
    provider: Literal["auto", "cpu", "cuda"] = "auto"
    seed: Seed = 0

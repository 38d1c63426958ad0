"""The section `promote`: what counts as better."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from monge.params.section import Section


class Condition(Section):
    """A bound on one figure. `improvement` is in joint standard errors over the champion's."""

    metric: Annotated[str, Field(min_length=1)]
    at_most: float | None = None
    at_least: float | None = None
    improvement: Annotated[float, Field(ge=0.0)] | None = None


class PromoteParams(Section):
    """Under which name, and what counts as better."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")] = "monge-digits"
    mode: Literal["on", "dry-run", "off"] = "on"
    conditions: Annotated[list[Condition], Field(min_length=1, max_length=100)] = Field(
        default=[Condition(metric="frechet", improvement=2.0)]
    )
    wait_s: Annotated[float, Field(ge=0.0, le=86_400.0)] = 120.0

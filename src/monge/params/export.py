"""The section `export`: what leaves as a file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from monge.params.section import Section


class ExportParams(Section):
    """The weights that leave, and how they are checked."""

    checkpoint: Literal["best", "last"] = "best"
    weights: Literal["averaged", "raw"] = "averaged"
    variant: Literal["float32", "float16", "int8"] = "float32"
    optimize_for: Literal["latency", "throughput"] = "latency"
    encoder: bool = True
    tolerance: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-4

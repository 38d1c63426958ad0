"""The section `prepare`: where the images come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from monge import sizes
from monge.params.section import Fraction, Line, Section, Seed

SOURCES = (
    "digits", "folder", "archive",
    "mnist", "fashion-mnist", "cifar10", "svhn", "stl10", "celeba", "lsun",
)  # fmt: skip


Size = Annotated[int | Annotated[str, Field()], BeforeValidator(sizes.resolution)]
"""A number of pixels for a square; "48x32", width first, for another rectangle."""


class ContractParams(Section):
    """The contract that images must keep to be trained on; by default they need keep nothing."""

    min_images: Annotated[int, Field(ge=0)] = 0
    min_images_per_class: Annotated[int, Field(ge=0)] = 0
    class_names: Line = ""
    min_side: Annotated[int, Field(ge=0)] = 0
    max_class_fraction: Fraction = 1.0
    max_copies_fraction: Fraction = 1.0
    max_near_copies_fraction: Fraction = 1.0


class PrepareParams(Section):
    """The source of the images, and what they become."""

    source: Literal[SOURCES] = "digits"  # type: ignore[valid-type]
    path: Annotated[Line, Field(min_length=1)] = "data/raw"
    classes: Literal["folders", "none"] = "folders"
    resolution: Size = 8
    colour: Literal["grey", "rgb", "rgba"] = "grey"
    fit: Literal["crop", "pad"] = "crop"
    background: Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")] = "#000000"
    levels: Literal["full", "stretch"] | Annotated[float, Field(gt=0.0, le=1e12)] = "full"
    validation_fraction: Annotated[float, Field(gt=0.0, le=0.5)] = 0.2
    seed: Seed = 0
    max_rejected_fraction: Fraction = 0.01
    max_images: Annotated[int, Field(ge=1, le=100_000_000)] = 10_000_000
    max_pixels: Annotated[int, Field(ge=1, le=1_000_000_000)] = 100_000_000
    workers: Annotated[int, Field(ge=0, le=1024)] = 0
    contract: ContractParams = ContractParams()

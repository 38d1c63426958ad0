"""The bodies of requests for images, checked, and the rows that are drawn for them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.exceptions import HTTPException

from monge.errors import InputError
from monge.labels import MAX_LABELS, chosen
from monge.latents import MAX_DIM, MAX_TRUNCATION, MIN_TRUNCATION, latents, slerp
from monge.server.batching.inputs import Numbered, Rows
from monge.serving.sampler import Latents, Sampler

Whole64 = Annotated[int, Field(ge=0, lt=2**64, strict=True)]
Truncation = Annotated[float, Field(ge=MIN_TRUNCATION, le=MAX_TRUNCATION, allow_inf_nan=False)]

Label = (
    Annotated[int, Field(ge=0, lt=MAX_LABELS, strict=True)] | Annotated[str, Field(max_length=200)]
)

Finite = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Brought = Annotated[list[Finite], Field(min_length=1, max_length=MAX_DIM)]
Format = Literal["png", "webp", "npz", "raw"]
_MOST = 100_000  # of a list, before the service's own limit is looked at
_MOST_NOTED = 4096  # values of latents in a mark


class Delivery(BaseModel):
    """The form that the images are wanted in: one grid, a zip of pictures, or an array.

    `raw` is uint8 [n, H, W, C] in rows; `npz` holds the same array under `images`.
    """

    model_config = ConfigDict(extra="forbid")

    format: Format = "png"
    layout: Literal["grid", "zip"] | None = None
    columns: Annotated[int, Field(ge=1, le=1024, strict=True)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.format in ("npz", "raw") and (self.layout or self.columns):
            raise ValueError(f"{self.format} is an array: it takes no layout and no columns")
        if self.layout == "zip" and self.columns:
            raise ValueError("columns are a grid's")
        return self


class Samples(Delivery):
    """Images first .. first + n − 1 of `seed`, or image 0 of each of `seeds`, or of `latents`.

    `labels` ask a conditional generator for a class, by number or name, or for one an image.
    `latents` are those of `generator`, both as `POST /v1/latents` answered.
    """

    n: Annotated[int, Field(ge=1, le=_MOST, strict=True)] | None = None
    seed: Whole64 | None = None
    first: Whole64 | None = None
    seeds: Annotated[list[Whole64], Field(min_length=1, max_length=_MOST)] | None = None
    truncation: Truncation | None = None
    labels: Label | Annotated[list[Label], Field(min_length=1, max_length=_MOST)] | None = None
    latents: Annotated[list[Brought], Field(min_length=1, max_length=_MOST)] | None = None
    generator: Hash | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = (self.n, self.seed, self.first)
        if self.seeds is not None and any(way is not None for way in ways):
            raise ValueError("give seeds, or n with seed and first")
        if self.latents is not None and (
            any(way is not None for way in (*ways, self.seeds, self.truncation))
        ):
            raise ValueError("latents are given in the place of seeds, and are not truncated")
        if (self.first or 0) + self.count > 2**64:
            raise ValueError("first + n must be at most 2^64")
        return self

    @property
    def count(self) -> int:
        """Count the images."""
        given = self.seeds if self.latents is None else self.latents
        return (self.n or 1) if given is None else len(given)

    def recipe(self, i: int | None) -> dict[str, Any]:
        """Say what image i was made from, or all of them (None), as its mark has it."""
        given = {"truncation": self.truncation, "labels": self.labels}
        if i is None:
            names = ("n", "seed", "first", "seeds", "latents")
            return _few({name: getattr(self, name) for name in names} | given)
        if isinstance(self.labels, list):
            given["labels"] = self.labels[i]
        if self.latents is not None:
            return _few({"latents": [self.latents[i]], **given})
        if self.seeds is not None:
            return _few({"seed": self.seeds[i], "first": 0, **given})
        return _few({"seed": self.seed or 0, "first": (self.first or 0) + i, **given})

    def rows(self, sampler: Sampler) -> Rows:
        """Say what they are made from. Raises InputError for labels that there are not."""
        contract = sampler.contract
        if self.latents is not None:
            rows = brought(self.latents, self.generator, sampler)
            if self.labels is None:
                return Rows(rows, sampler.checked_labels(None, len(rows)))
            shares, classes = contract.label_shares, contract.classes
            return Rows(rows, chosen(self.labels, len(rows), shares, classes))
        if self.seeds is None:
            seed, first = self.seed or 0, self.first or 0
            numbered = Numbered.of_seed(seed, first, self.count, self.truncation)
        else:
            numbered = Numbered.of_seeds(self.seeds, self.truncation)
        return Rows(numbered, numbered.labels(self.labels, contract))


class End(BaseModel):
    """One image: of a seed, by its index, or of latents."""

    model_config = ConfigDict(extra="forbid")

    seed: Whole64 = 0
    index: Annotated[int, Field(ge=0, lt=2**64 - 1, strict=True)] = 0
    latents: Brought | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.latents is not None and (self.seed or self.index):
            raise ValueError("give latents, or seed and index")
        return self


class Interpolation(Delivery):
    """A walk on the sphere from one image to another, both included.

    A conditional generator draws all of it with one label: `label`, or the start's own, which only
    a seed has. Latents are those of `generator`, both as `POST /v1/latents` answered.
    """

    start: End
    end: End
    steps: Annotated[int, Field(ge=2, le=_MOST, strict=True)] = 9
    truncation: Truncation | None = None
    label: Label | None = None
    generator: Hash | None = None

    def recipe(self, i: int | None) -> dict[str, Any]:
        """Say what image i of the walk was made from, or all of it (None)."""
        ends = {
            name: _few(end.model_dump(exclude_defaults=True))
            for name, end in (("start", self.start), ("end", self.end))
        }
        more = {"truncation": self.truncation, "label": self.label, "step": i}
        return _few({**ends, "steps": self.steps, **more})

    def rows(self, sampler: Sampler) -> Rows:
        """Draw what the walk is made from. Raises InputError for a label that there is not."""
        start, contract = self.start, sampler.contract
        a, b = (self._latents(end, sampler) for end in (start, self.end))
        if start.latents is not None and self.label is None and contract.conditional:
            raise InputError("label: latents have no class of their own; give the walk's.")
        first = Numbered.of_seed(start.seed, start.index, 1, None).labels(self.label, contract)
        return Rows(
            slerp(a, b, np.linspace(0.0, 1.0, self.steps)),
            None if first is None else np.repeat(first, self.steps),
        )

    def _latents(self, end: End, sampler: Sampler) -> Latents:
        if end.latents is not None:
            return brought([end.latents], self.generator, sampler)
        dim = sampler.contract.latent_dim
        return latents(end.seed, end.index, 1, dim, self.truncation)


def _few(given: dict[str, Any]) -> dict[str, Any]:
    """Keep what is said, and nothing where latents would fill more than a mark holds."""
    rows = given.get("latents")
    if rows and isinstance(rows[0], list) and len(rows) * len(rows[0]) > _MOST_NOTED:
        return {}
    return {name: value for name, value in given.items() if value is not None}


def brought(rows: list[list[float]], generator: str | None, sampler: Sampler) -> Latents:
    """Check latents [n, latent_dim] that a client brought, and whose they are.

    Raises InputError, and a refusal (409) for those of another generator.
    """
    if generator is None:
        raise InputError(
            "generator: latents mean nothing without it; give it as POST /v1/latents answered."
        )
    if generator != sampler.model_hash:
        raise HTTPException(
            HTTPStatus.CONFLICT,
            f"latents of the generator {generator[:12]}..., and {sampler.model_hash[:12]}... "
            "answers now. Encode the pictures again.",
        )
    dim = sampler.contract.latent_dim
    for row in rows:
        if len(row) != dim:
            raise InputError(f"latents: this generator's have {dim} values, got {len(row)}.")
    return sampler.checked(np.array(rows))

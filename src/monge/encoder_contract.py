"""Describes an encoder file, and names the generator file that its latents belong to."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from monge import __version__
from monge.contract import MAX_CHARACTERS, MAX_SIDE
from monge.errors import ModelFileError
from monge.latents import MAX_DIM

METADATA_KEY = "monge.encoder"
FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class EncoderContract:
    """Input, output and generator of an encoder file; one that exists is valid.

    `image_shape` is (height, width, channels) in pixels, `generator` the SHA-256 of the generator
    file, `preparation` how the training images were fitted to that shape: the keys `fit`,
    `background`, `colour` and `levels` of the section `prepare`.
    Raises ModelFileError when a field is out of its range.
    """

    latent_dim: int
    image_shape: tuple[int, int, int]
    generator: str
    preparation: Mapping[str, Any] = field(default_factory=dict)
    monge_version: str = __version__
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        shape: Any = self.image_shape
        if isinstance(shape, list):  # as JSON has it
            object.__setattr__(self, "image_shape", tuple(shape))
        for problem, wrong in _checks(self):
            if wrong:
                raise ModelFileError(f"the encoder file's contract is broken: {problem}.")

    def to_json(self) -> str:
        """Write the contract as JSON: the same text for the same contract."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> EncoderContract:
        """Read and check a contract. Raises ModelFileError in one line."""
        try:
            if len(text) > MAX_CHARACTERS:
                raise ValueError("too long")
            document = json.loads(text)
            return cls(**document)
        except (ValueError, TypeError, RecursionError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelFileError(
                f"the encoder file's contract is broken or of another monge: {reason}."
            ) from None


def _checks(contract: EncoderContract) -> list[tuple[str, bool]]:
    c = contract
    shape = c.image_shape
    return [
        (f"format_version must be {FORMAT_VERSION}", c.format_version != FORMAT_VERSION),
        (
            f"latent_dim must be a whole number from 1 to {MAX_DIM}",
            not _whole(c.latent_dim, MAX_DIM),
        ),
        (
            f"image_shape must be [height, width, channels] with sides from 1 to {MAX_SIDE}",
            not isinstance(shape, tuple)
            or len(shape) != 3
            or not all(_whole(side, MAX_SIDE) for side in shape)
            or shape[2] > 4,
        ),
        (
            "generator must be a SHA-256",
            not (isinstance(c.generator, str) and re.fullmatch(r"[0-9a-f]{64}", c.generator)),
        ),
        ("preparation must be a mapping", not isinstance(c.preparation, Mapping)),
        ("monge_version must be text", not isinstance(c.monge_version, str)),
    ]  # fmt: skip


def _whole(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most

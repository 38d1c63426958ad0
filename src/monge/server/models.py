"""The model that answers, the one before it, and how a new one takes its place."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from monge.errors import ModelFileError
from monge.server.batching.inputs import Rows, gathered
from monge.serving import origin
from monge.serving.encoder import Encoder, belonging, encoder_of
from monge.serving.marks import Marker
from monge.serving.origin import look_up
from monge.serving.sampler import Images, Sampler

log = logging.getLogger(__name__)

_NAME = "generator"


@dataclass(frozen=True, eq=False)
class Model:
    """A generator that is open, what it is called, and its encoder where it has one.

    `marker` marks its pictures as generated, unless that is not wanted.
    """

    sampler: Sampler
    name: str
    version: str
    encoder: Encoder | None = None
    marker: Marker | None = None

    @property
    def batch_size(self) -> int:
        """Images that it likes to draw at a time."""
        return self.sampler.batch_size

    @property
    def largest(self) -> int:
        """Images that it may be asked to draw at a time."""
        return self.sampler.largest

    def draw_at_once(self, images: int) -> None:
        """Draw in batches of so many from now on."""
        self.sampler.batch_size = images

    @property
    def elsewhere(self) -> bool:
        """Tell whether it draws in a thread of its own, which other models may keep busy."""
        return bool(self.sampler.batches)

    def draw(self, parts: Sequence[Rows]) -> Images:
        """Images of the rows of all parts, one after the other: uint8 [n, H, W, C]."""
        latents, labels = gathered(parts, self.sampler.contract.latent_dim)
        return self.sampler.run(latents, labels)

    @cached_property
    def facts(self) -> dict[str, str]:
        """Name the model, as an answer's headers do."""
        return {
            "Monge-Model-Name": self.name,
            "Monge-Model-Version": self.version,
            "Monge-Model-Hash": self.sampler.model_hash,
            "Monge-Provider": self.sampler.provider,
        }

    @cached_property
    def raw_facts(self) -> list[tuple[bytes, bytes]]:
        """The same as ASGI has it."""
        return [
            (name.lower().encode(), value.encode("latin-1")) for name, value in self.facts.items()
        ]


def open_model(
    address: str,
    provider: str,
    threads: int,
    batches: Sequence[int] | None = None,
    marks: bool = True,
) -> Model:
    """Open what an address names now: a file, an http(s) address, or models:/NAME@ALIAS.

    `batches` are the sizes to draw in. Raises ModelFileError when the registry's hash is not the
    file's, and all that Sampler.load raises.
    """
    if not address.startswith("models:/"):
        sampler = Sampler.load(address, provider, threads, batches)
        marker = Marker(sampler.model_hash, origin.called(sampler.origin)) if marks else None
        encoder = encoder_of(address, sampler.model_hash, threads)
        return Model(sampler, _NAME, "1", encoder, marker)
    found = look_up(address)
    sampler = Sampler.load(found.fetch(), provider, threads, batches)
    if sampler.model_hash != found.model_hash:
        raise ModelFileError(f"{address}: the file is not the one that was registered.")
    place = found.fetch_encoder()
    encoder = None if place is None else belonging(place, sampler.model_hash, threads)
    marker = Marker(sampler.model_hash, str(found)) if marks else None
    return Model(sampler, found.name, str(found.number), encoder, marker)


def warm_up(model: Model) -> None:
    """Find the fastest batch size, and draw once at both ends of it, so that no client waits."""
    sampler = model.sampler
    size = sampler.calibrate()
    for n in (1, size):
        images = sampler.blank(n)
        if images.shape != (n, *sampler.contract.image_shape):
            raise ModelFileError(f"{model.name}: draws {images.shape}, not what its contract says.")
    if model.encoder is not None:
        model.encoder.encode(sampler.blank(1))


class Models:
    """Holds the model that answers: `current` is read once a request, which thus has one model."""

    def __init__(self, first: Model) -> None:
        self.current = first

    def switch(self, new: Model) -> None:
        """Let `new` answer from the next request on."""
        old, self.current = self.current, new
        log.info(
            "%s version %s answers now, in place of version %s",
            new.name, new.version, old.version,
        )  # fmt: skip

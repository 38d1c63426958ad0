"""Reads what is in an image file, as a hash of its pixels and a thumbnail of them.

Two files with the same pixels are one image, whatever they are called and however they are
compressed; two thumbnails that hardly differ are near copies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ImageOps

from monge.data import additions, levels
from monge.data.decode import Recipe, decode
from monge.data.encoded import Encoded, limited, opened, why
from monge.data.packed import Images
from monge.data.sources import open_source
from monge.data.telling import Oddities
from monge.params import PrepareParams
from monge.versions import keeping

_SIDE = 16


@dataclass
class Content:
    """The images of a source by name: a hash of each, and thumbnails uint8 [n, 3, 16, 16].

    `rejected` has those that `prepare` would reject, with the reasons; `labels` the classes that a
    dataset.json names.
    """

    hashes: dict[str, str] = field(default_factory=dict)
    thumbnails: list[Images] = field(default_factory=list)
    rejected: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    sharded: bool = False

    def with_more(self, addition: str, placed: Mapping[str, str], offered: Content) -> Content:
        """Give these images and those of an addition, `placed` within it by their names."""
        thumbnails = dict(zip(offered.hashes, offered.thumbnails, strict=True))
        later = {additions.name(addition, rest): name for name, rest in placed.items()}
        return replace(
            self,
            hashes=self.hashes | {to: offered.hashes[name] for to, name in later.items()},
            thumbnails=[*self.thumbnails, *(thumbnails[name] for name in later.values())],
        )


def read(params: PrepareParams, root: Path) -> Content:
    """Look at every image of a source. Raises SourceError as `prepare` does."""
    source, found = open_source(params, root, root / "data" / "downloads"), Content()
    recipe = Recipe(_SIDE, "rgb", "pad", "#000000", params.max_pixels, params.levels)
    with limited(params.max_pixels):
        for name, encoded in source.items:
            try:
                if isinstance(encoded, str):
                    encoded = Path(encoded).read_bytes()
                thumbnail = decode(encoded, recipe)
                found.hashes[name] = _hash(encoded)
                found.thumbnails.append(thumbnail)
            except Exception as error:  # decoders raise anything on bad bytes
                found.rejected[name] = why(error, params.max_pixels)
    found.labels, found.sharded = source.labels, source.sharded
    return found


def _hash(encoded: Encoded) -> str:
    """Hash what a person sees: the pixels, upright and in one mode, and how many there are."""
    image = ImageOps.exif_transpose(opened(encoded))
    if image.mode == "La":  # Pillow has no other way from premultiplied grey
        image = image.convert("LA")
    pixels: NDArray[np.generic] = np.asarray(
        image if levels.is_deep(image) else image.convert("RGBA")
    )
    head = f"{pixels.shape} {pixels.dtype}".encode()
    return hashlib.blake2b(head + pixels.tobytes(), digest_size=16).hexdigest()


def near_copies(there: Content, new: Content, names: Iterable[str]) -> list[str]:
    """Find those of the new images that look like another one, there or among them."""
    wanted = set(names)
    pairs = zip(new.hashes, new.thumbnails, strict=True)
    fresh = [(name, thumbnail) for name, thumbnail in pairs if name in wanted]
    if not fresh:
        return []
    thumbnails = np.stack([*there.thumbnails, *(thumbnail for _, thumbnail in fresh)])
    odd = Oddities(thumbnails)
    all_names = [*there.hashes, *(f"+{name}" for name, _ in fresh)]
    odd.add(all_names, np.arange(len(thumbnails)), thumbnails)
    return [name[1:] for name in odd.copies[:] if name.startswith("+")]


def remember(content: Content, key: str, file: Path) -> None:
    """Keep what was seen of a version, so that the next addition need not look again."""
    keeping.keep(
        file,
        key,
        names=np.array(list(content.hashes)),
        hashes=np.array(list(content.hashes.values())),
        thumbnails=np.array(content.thumbnails),
        rejected=np.array(list(content.rejected.items())).reshape(-1, 2),
        labels=np.array(list(content.labels.items())).reshape(-1, 2),
        sharded=np.array(content.sharded),
    )


def recall(key: str, file: Path) -> Content | None:
    """Give what was seen of a version, if it is that version's."""
    kept = keeping.kept(file, key) or {}
    try:
        return Content(
            dict(zip(kept["names"].tolist(), kept["hashes"].tolist(), strict=True)),
            list(kept["thumbnails"]),
            dict(kept["rejected"].tolist()),
            dict(kept["labels"].tolist()),
            bool(kept["sharded"]),
        )
    except (ValueError, KeyError):  # nothing, or what another monge kept
        return None

"""Pictures to latents and back: what a person does with a generator that has an encoder."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from monge.errors import InputError
from monge.files import deliver, write_whole
from monge.pictures import paired
from monge.serving import pictures
from monge.serving.encoder import Encoder
from monge.serving.latents_file import LatentsFile
from monge.serving.sampler import Sampler

MOST = 100_000
_AT_A_TIME = 256

if TYPE_CHECKING:
    from monge.data.listing import Item

Images = NDArray[np.uint8]


def encode(
    model: str, sources: Sequence[Path], output: Path, show: Path | None, label: str | None
) -> list[str]:
    """Write the latents of pictures, fitted as the training's were, and say what was done.

    `show` is a PNG of pictures with their reconstructions below them, of a conditional generator
    with a `label`. Raises InputError for a model without an encoder, or where no picture is read.
    """
    if output.suffix != ".npz":
        raise InputError(f"-o {output}: latents go into a file whose name ends in .npz.")
    if show is not None and show.suffix.lower() != ".png":
        raise InputError(f"--show {show}: the pairs are a PNG; give a name that ends in .png.")
    sampler = Sampler.load(model, "cpu")
    encoder = sampler.encoder
    if encoder is None:
        raise InputError(
            f"{model}: has no encoder (encoder/encoder.onnx beside it). Train with "
            "train.objective: vae, wae-mmd or wae-gan, whose export writes one; of another method "
            "`monge project` finds latents, too."
        )
    labels = _labels(sampler, label) if show is not None else None
    names, images, rejected = _read(encoder, sources)
    if not names:
        raise InputError(
            f"{sources[0]}: no picture that can be read here"
            + "".join(f"; {name}: {reason}" for name, reason in list(rejected.items())[:3])
        )
    latents = encoder.encode(images)
    deliver(output, LatentsFile(latents, sampler.model_hash, tuple(names)).to_bytes())
    lines = [f"{name}: left out: {reason}" for name, reason in rejected.items()]
    lines.append(f"{len(names)} pictures to {output}: latents [{len(names)}, {latents.shape[1]}]")
    if show is not None:
        back = sampler.run(latents, None if labels is None else np.repeat(labels, len(latents)))
        columns = min(16, len(names))
        data = io.BytesIO()
        pictures.grid(paired(images, back, columns), columns).save(data, "PNG")
        write_whole(show, data.getvalue())
        lines.append(f"{show}: each row of pictures with their reconstructions below it")
    return lines


def _labels(sampler: Sampler, label: str | None) -> NDArray[np.int64] | None:
    from monge.labels import named

    contract = sampler.contract
    if not contract.conditional:
        if label is not None:
            raise InputError("--label: this generator takes no labels.")
        return None
    if label is None:
        classes = ", ".join(contract.classes[:10]) or f"0 to {len(contract.label_shares) - 1}"
        raise InputError(f"--show: this generator draws by class; give --label: {classes}.")
    return np.array([named(label, contract.label_shares, contract.classes)], np.int64)


def _read(encoder: Encoder, sources: Sequence[Path]) -> tuple[list[str], Images, dict[str, str]]:
    """Names and pixels [n, H, W, C] of what can be read, and why the rest cannot."""
    from monge.data.decode import decode_chunk
    from monge.data.fitted import recipe

    contract = encoder.contract
    how = recipe(contract.image_shape, contract.preparation, max_pixels=100_000_000)
    names: list[str] = []
    parts: list[Images] = []
    rejected: dict[str, str] = {}
    for name, content in items(sources):
        if len(names) >= MOST:
            raise InputError(f"more than {MOST:,} pictures at a time: encode them in parts.")
        decoded = decode_chunk([content], how)
        if decoded.reasons[0] is not None:
            rejected[name] = decoded.reasons[0]
            continue
        names.append(name)
        parts.append(decoded.images.transpose(0, 2, 3, 1))
    none = np.empty((0, *contract.image_shape), np.uint8)
    return names, np.concatenate(parts) if parts else none, rejected


def items(sources: Sequence[Path]) -> Iterator[Item]:
    """Files by themselves; folders and archives as `prepare` reads them."""
    from monge.data.sources import open_source
    from monge.params import PrepareParams

    for place in sources:
        if not place.exists():
            raise InputError(f"{place}: no such file or folder.")
        if place.is_dir() or place.suffix.lower() in (".zip", ".tar", ".gz", ".bz2", ".xz", ".tgz"):
            kind = "folder" if place.is_dir() else "archive"
            params = PrepareParams(source=kind, path=str(place.resolve()))
            yield from open_source(params, Path("/"), Path("/")).items
        else:
            yield str(place), str(place)

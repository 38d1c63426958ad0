"""Latents of a person's pictures for a generator without an encoder, found by search."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from numpy.typing import NDArray

from monge.data.decode import Recipe, decode_chunk
from monge.durations import duration
from monge.errors import InputError
from monge.files import deliver, write_whole
from monge.inversion.search import Asked, Found, Search, search
from monge.labels import named
from monge.params import Params, PrepareParams
from monge.paths import Paths
from monge.pictures import paired
from monge.serving import pictures
from monge.serving.encoder import Encoder
from monge.serving.latents_file import LatentsFile
from monge.stages.encoding import items
from monge.stages.inverting import Drawer, drawer, progress

log = logging.getLogger(__name__)

Images = NDArray[np.uint8]

MOST = 1000
"""Pictures at a time: each takes a second or more."""

_HELD_OUT = 8
_FAR = 1.5
_LITTLE = 0.5
_NO_DISTANCE = 1e-3
_COLUMNS = 16


def project(
    params: Params,
    paths: Paths,
    *,
    sources: Sequence[Path],
    output: Path,
    show: Path | None,
    label: str | None,
    encoder: Path | None,
    **how: Unpack[Asked],
) -> Iterator[str]:
    """Find latents of pictures and, as a measure, of held-out images; tell how near each came.

    `how` are `seconds`, `restarts`, `steps`, `samples` and `seed` of the search. Raises InputError
    for pictures that cannot be read, CheckpointMismatch when the file is not the checkpoints'.
    """
    began = time.monotonic()
    _check_names(output, show)
    names, images, rejected = _read(params.prepare, sources)
    count = len(names)
    own = drawer(params, paths)
    contract = own.sampler.contract
    chosen = _label(own, label)
    task = Search(contract.latent_dim, shares=contract.label_shares, label=chosen, **how)
    images = np.concatenate([images, _held_out(own, chosen)])
    guesses = None if encoder is None else _guessed(own, encoder, images)
    targets = own.tensor(images)
    with progress(len(images) * task.steps, "projecting") as advance:
        found = search(own.network, targets, own.likeness, task, guesses, advance)
    latents = found.latents.cpu().numpy()
    labels = None if found.labels is None else found.labels.cpu().numpy()
    drawn = own.sampler.run(latents, labels)  # what the file draws is what is told of
    distances = own.likeness.distances(own.tensor(drawn), targets)
    kept = LatentsFile(
        latents[:count], own.sampler.model_hash, tuple(names),
        None if labels is None else labels[:count], distances[:count].double().cpu().numpy(),
    )  # fmt: skip
    deliver(output, kept.to_bytes())
    yield from (f"{name}: left out: {reason}" for name, reason in rejected.items())
    yield from _told(names, own, targets, distances, found)
    if found.steps < task.steps or found.samples < task.samples:
        yield (
            f"time was up after {found.samples} of {task.samples} samples and {found.steps} of "
            f"{task.steps} steps; --minutes gives more"
        )
    yield f"{count} pictures to {output} in {duration(time.monotonic() - began)}"
    if show is not None:
        _write_pairs(show, images[:count], drawn[:count])
        yield f"{show}: each row of pictures with their projections below it"


def _check_names(output: Path, show: Path | None) -> None:
    if output.suffix != ".npz":
        raise InputError(f"-o {output}: latents go into a file whose name ends in .npz.")
    if show is not None and show.suffix.lower() != ".png":
        raise InputError(f"--show {show}: the pairs are a PNG; give a name that ends in .png.")


def _label(own: Drawer, label: str | None) -> int | None:
    """The label that was asked for; None where those of the nearest samples are to be tried."""
    contract = own.sampler.contract
    if label is None:
        return None
    if not contract.label_shares:
        raise InputError("--label: this generator takes no labels.")
    return named(label, contract.label_shares, contract.classes)


def _read(
    prepare: PrepareParams, sources: Sequence[Path]
) -> tuple[list[str], Images, dict[str, str]]:
    """Names and pixels [n, H, W, C], fitted as `prepare` does, and why others cannot be read."""
    recipe = Recipe(
        prepare.resolution, prepare.colour, prepare.fit, prepare.background, prepare.max_pixels,
        prepare.levels,
    )  # fmt: skip
    found: dict[str, Images] = {}
    rejected: dict[str, str] = {}
    for name, content in items(sources):
        if len(found) == MOST:
            raise InputError(f"more than {MOST:,} pictures: project them in parts.")
        decoded = decode_chunk([content], recipe)
        if reason := decoded.reasons[0]:
            rejected[name] = reason
        else:
            found[name] = decoded.images.transpose(0, 2, 3, 1)
    if not found:
        reasons = [f"; {name}: {reason}" for name, reason in list(rejected.items())[:3]]
        raise InputError(f"{sources[0]}: no picture that can be read here{''.join(reasons)}")
    return list(found), np.concatenate(list(found.values())), rejected


def _held_out(own: Drawer, label: int | None) -> Images:
    """Some held-out images [n, H, W, C], of a class where one was asked for."""
    split = own.dataset.validation
    places = np.arange(len(split))
    if label is not None and split.labels is not None:
        places = np.flatnonzero(np.asarray(split.labels) == label)
    spread = np.unique(np.linspace(0, len(places) - 1, min(_HELD_OUT, len(places))).astype(int))
    return split.take(places[spread]).transpose(0, 2, 3, 1)


def _guessed(own: Drawer, path: Path, images: Images) -> torch.Tensor:
    """An encoder's answers [n, z]. Raises InputError for one of another generator."""
    encoder = Encoder.load(path)
    if encoder.contract.generator != own.sampler.model_hash:
        raise InputError(f"{path}: belongs to another generator. Run `monge train-encoder` anew.")
    return torch.from_numpy(encoder.encode(images)).to(own.device)


def _told(
    names: Sequence[str], own: Drawer, targets: torch.Tensor, distances: torch.Tensor, found: Found
) -> Iterator[str]:
    """A line for each picture: how near it came beside the mean image, samples, held-out images."""
    from_mean = own.likeness.to_mean(targets).clamp_min(_NO_DISTANCE)
    shares, samples = (
        (distances / from_mean).tolist(),
        (found.sample_distances / from_mean).tolist(),
    )
    held_out = sorted(shares[len(names) :])
    for place, name in enumerate(names):
        share = shares[place]
        line = f"{name}: {share:.2f} of the way to the mean image (nearest sample "
        line += f"{samples[place]:.2f}{_of_class(own, found, place)})"
        if held_out and share > _FAR * held_out[-1]:
            line += ", further than held-out images: the generator does not draw such pictures"
        elif share > _LITTLE:
            line += ": little of it was found"
        yield line
    if held_out:
        yield (
            f"held-out images of its own set: {held_out[0]:.2f} to {held_out[-1]:.2f}, median "
            f"{float(np.median(held_out)):.2f}"
        )


def _of_class(own: Drawer, found: Found, place: int) -> str:
    if found.labels is None:
        return ""
    label, classes = int(found.labels[place]), own.sampler.contract.classes
    return f"; drawn as {classes[label] if label < len(classes) else label}"


def _write_pairs(show: Path, images: Images, drawn: Images) -> None:
    columns, data = min(_COLUMNS, len(images)), io.BytesIO()
    pictures.grid(paired(images, drawn, columns), columns).save(data, "PNG")
    write_whole(show, data.getvalue())

"""`monge sample` and `inspect`: what needs a generator file and nothing else."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monge import signatures
from monge.cli.base import app
from monge.errors import InputError
from monge.outputs import is_stream
from monge.signatures import VERIFY_KEY

if TYPE_CHECKING:
    from monge.serving.marks import Packet
    from monge.serving.sampler import Sampler


class Provider(StrEnum):
    """ONNX Runtime's execution provider."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Shards(StrEnum):
    """The format of a folder of shards."""

    webdataset = "webdataset"
    parquet = "parquet"


Verify = Annotated[
    Path | None,
    typer.Option(envvar=VERIFY_KEY, help="Refuse what is not signed by this public key (PEM)."),
]


Source = Annotated[str, typer.Argument(help="A .onnx file, an address, models:/NAME@champion.")]
Count = Annotated[int, typer.Option("-n", help="Number of images.")]
Seed = Annotated[int, typer.Option(help="Image i of a seed is always the same.")]
First = Annotated[int, typer.Option(help="Index of the first image.")]
Output = Annotated[
    Path, typer.Option("-o", "--output", help="A .png (grid), a .npz, a folder, or -.")
]
Where = Annotated[Provider, typer.Option(case_sensitive=False, help="Where to compute.")]
Truncation = Annotated[
    float | None, typer.Option(help="Latents within so many standard deviations.")
]
Label = Annotated[
    str | None, typer.Option(help="A class, by name or number, of a conditional generator.")
]
LatentsOf = Annotated[
    Path | None, typer.Option(help="Draw those of `monge encode`, in the place of a seed's.")
]
Filled = Annotated[
    Shards | None,
    typer.Option(case_sensitive=False, help="Fill a folder with shards; the same command goes on."),
]
ShardSize = Annotated[int, typer.Option(help="Images of a shard.")]
Like = Annotated[Path | None, typer.Option(help="Make this picture of this generator's again.")]
Marks = Annotated[
    bool, typer.Option("--marks/--no-marks", help="Say in each PNG and WebP that it is generated.")
]


@app.command()
def sample(
    model: Source,
    n: Count = 64,
    seed: Seed = 0,
    first: First = 0,
    output: Output = Path("samples.png"),
    provider: Where = Provider.auto,
    truncation: Truncation = None,
    label: Label = None,
    latents: LatentsOf = None,
    shards: Filled = None,
    shard_size: ShardSize = 10_000,
    like: Like = None,
    marks: Marks = True,
    verify: Verify = None,
) -> None:
    """Draw images from a generator file or a registered model."""
    signatures.require(verify)
    if n < 1:
        raise InputError(f"-n must be at least 1, got {n}.")
    from monge.labels import named
    from monge.serving.sampler import Sampler

    sampler = Sampler.load(model, provider=provider.value)
    shares, classes = sampler.contract.label_shares, sampler.contract.classes
    wanted = None if label is None else named(label, shares, classes)
    if like is not None:
        told = _again(sampler, like, output, marks)
    elif latents is not None:
        told = _drawn_again(sampler, latents, wanted, output, marks)
    else:
        if shards is None:
            recipe = {"n": n, "seed": seed, "first": first, "truncation": truncation}
            _draw(sampler, {**recipe, "labels": wanted}, output, marks)
        elif first or truncation is not None:
            raise InputError("--shards takes neither --first nor --truncation.")
        else:
            plan = {"n": n, "seed": seed, "shard_size": shard_size, "label": wanted}
            _fill(sampler, output, **plan, format=shards.value, marks=marks)
        of_class = "" if wanted is None else f" of {_class(wanted, classes)}"
        told = f"{n} images{of_class} of seed {seed} in {output} ({sampler.provider})"
    typer.echo(told, err=is_stream(output))


def _draw(sampler: Sampler, recipe: dict[str, Any], output: Path, marks: bool) -> None:
    """Draw the images of a seed, each with its mark."""
    from monge.serving import pictures

    order = ("n", "seed", "first", "truncation", "labels")
    images = sampler.sample(*(recipe[name] for name in order))
    pictures.write(images, output, _packet(sampler, recipe) if marks else None)


def _packet(sampler: Sampler, recipe: dict[str, Any]) -> Packet:
    """Say how each picture was made: the grid of all, or image i alone."""
    from monge.serving import origin
    from monge.serving.marks import Marker

    marker = Marker(sampler.model_hash, origin.called(sampler.origin))
    known = {name: value for name, value in recipe.items() if value is not None}

    def packet(i: int | None) -> bytes:
        if i is None:
            return marker.packet({**known, "layout": "grid"})
        if "latents" in known:
            return marker.packet({name: [rows[i]] for name, rows in known.items()})
        return marker.packet({**known, "n": 1, "first": known["first"] + i})

    return packet


def _again(sampler: Sampler, like: Path, output: Path, marks: bool) -> str:
    """Make a picture again from what it says of itself."""
    from monge.serving import origin, pictures
    from monge.serving.again import made_again
    from monge.serving.marks import Marker

    drawn, mark = made_again(sampler, like)
    marker = Marker(sampler.model_hash, mark.model or origin.called(sampler.origin))
    pictures.write_one(drawn, output, marker.packet(mark.recipe) if marks else None)
    return f"{like} again in {output} ({sampler.provider})"


def _drawn_again(
    sampler: Sampler, latents: Path, label: int | None, output: Path, marks: bool
) -> str:
    """Draw the latents of a file, which must be this generator's."""
    import numpy as np

    from monge.serving import pictures
    from monge.serving.latents_file import LatentsFile

    found = LatentsFile.read(latents)
    found.refuse_other(latents, sampler.model_hash)
    labels = found.labels if label is None else np.full(len(found.latents), label, np.int64)
    given = {
        "latents": found.latents.tolist(),
        "labels": None if labels is None else labels.tolist(),
    }
    packet = _packet(sampler, given) if marks else None
    pictures.write(sampler.run(found.latents, labels), output, packet)
    return f"{len(found.latents)} images of {latents} in {output} ({sampler.provider})"


def _class(label: int, classes: Sequence[str]) -> str:
    name = f"class {classes[label]!r}, " if label < len(classes) else ""
    return f"{name}label {label},"


def _fill(sampler: Sampler, folder: Path, **plan: Any) -> None:
    """Make the shards that are missing: a bar on a terminal, a line every 10 s elsewhere."""
    from monge.serving import bulk

    if is_stream(folder):
        raise InputError(f"-o {folder}: shards fill a folder. Name one.")
    whole = bulk.Plan(**plan, model_hash=sampler.model_hash)
    done, told_s = 0, time.monotonic()
    with typer.progressbar(length=whole.n, label="sample", file=sys.stderr) as bar:

        def progress(images: int) -> None:
            nonlocal done, told_s
            done += images
            bar.update(images)
            if not sys.stderr.isatty() and time.monotonic() - told_s > 10.0:
                told_s = time.monotonic()
                logging.getLogger("monge").info("%d of %d images", done, whole.n)

        bulk.write(sampler, folder, whole, progress)


@app.command()
def inspect(
    model: Annotated[
        str, typer.Argument(help="A .onnx file, an address, models:/NAME@champion; or a picture.")
    ],
    provider: Where = Provider.auto,
) -> None:
    """Show what a generator file, or its picture, says of itself, and how fast the file is here."""
    from monge.serving.marks import is_picture

    if is_picture(model):
        from monge.serving.again import described

        for line in described(Path(model)):
            typer.echo(line)
        return
    from monge.serving.inspect import describe

    for line in describe(model, provider.value):
        typer.echo(line)

"""`monge data`: add images, list their versions, go back to one; what was packed, as a picture."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from monge.cli.base import Overrides, ParamsFile, app
from monge.errors import InputError

data = typer.Typer(
    help="Images: add some, list versions, go back; see what was packed.", no_args_is_help=True
)
app.add_typer(data, name="data")


@data.callback()
def options() -> None:
    """Images: add some, list versions, go back; see what was packed."""


@data.command()
def show(
    n: Annotated[int, typer.Option("-n", min=1, max=10_000, help="Images, from all over.")] = 64,
    output: Annotated[Path, typer.Option("-o", "--output", help="The picture.")] = Path(
        "packed.png"
    ),
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Those to judge by, in place of those to train on.")
    ] = False,
) -> None:
    """Draw the packed images as a grid: what a training will see."""
    import numpy as np

    from monge.data.packed import PackedDataset
    from monge.paths import Paths
    from monge.serving import pictures

    if output.suffix.lower() != ".png":
        raise InputError(f"-o {output}: the grid is a PNG; give a name that ends in .png.")
    dataset = PackedDataset.open(Paths(Path.cwd()).prepared)
    split = dataset.validation if held_out else dataset.train
    count = min(n, len(split))
    places = np.linspace(0, len(split) - 1, count).round().astype(np.int64)
    pictures.write(np.moveaxis(split.take(places), 1, -1), output)
    which = "held-out images" if held_out else "images to train on"
    typer.echo(f"{count} of {len(split):,} {which} in {os.path.relpath(output)}")


@data.command()
def add(
    images: Annotated[Path, typer.Argument(help="A folder or an archive of new images.")],
    into: Annotated[
        str, typer.Option("--into", help="Put them into this folder: a class, or train/CLASS.")
    ] = "",
    params: ParamsFile = Path("params.yaml"),
    override: Overrides = None,
) -> None:
    """Add images that are not there yet, as a new version; the project's own: as they are."""
    _tell("data_add", params, override, images=images, into=into)


@data.command()
def log(params: ParamsFile = Path("params.yaml"), override: Overrides = None) -> None:
    """List the versions: when, by whom, how many of what, and which models used them."""
    _tell("data_log", params, override)


@data.command()
def checkout(
    version: Annotated[str, typer.Argument(help="A version's number, as `monge data log` has it.")],
    params: ParamsFile = Path("params.yaml"),
    override: Overrides = None,
) -> None:
    """Bring a version of the images back, from DVC's cache or its remote."""
    _tell("data_checkout", params, override, version=version)


def _tell(name: str, params: Path, override: list[str] | None, **options: Any) -> None:
    """Print what is done line by line; values that are still to be chosen matter to none of it."""
    from monge import stages
    from monge.params import load
    from monge.paths import Paths

    paths = Paths(params.resolve().parent)
    for line in getattr(stages, name)(load(params, override, chosen=()), paths, **options):
        typer.echo(line)

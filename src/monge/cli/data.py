"""`monge data show`: what was packed, as a picture."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from monge.cli.base import app
from monge.errors import InputError

data = typer.Typer(help="Look at the packed dataset.", no_args_is_help=True)
app.add_typer(data, name="data")


@data.callback()
def options() -> None:
    """Look at the packed dataset."""


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

"""`monge encode`: pictures to latents, by the encoder that was trained with a generator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monge.cli.base import app


@app.command()
def encode(
    pictures: Annotated[
        list[Path],
        typer.Argument(help="Files, folders, archives.", metavar="PICTURES"),
    ],
    model: Annotated[
        str, typer.Option("-m", "--model", help="A .onnx file, or models:/NAME@champion.")
    ] = "models/generator.onnx",
    output: Annotated[
        Path, typer.Option("-o", "--output", help="An .npz: latents, names, the generator's hash.")
    ] = Path("latents.npz"),
    show: Annotated[
        Path | None, typer.Option(help="A .png of the pictures and their reconstructions.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="The class that a conditional generator draws them as.")
    ] = None,
) -> None:
    """Encode pictures as latents; `monge sample --latents` draws them again."""
    from monge.stages.encoding import encode

    for line in encode(model, pictures, output, show, label):
        typer.echo(line)

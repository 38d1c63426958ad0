"""`monge project` and `monge train-encoder`: a way back for generators without an encoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monge.cli.base import Overrides, ParamsFile, app

if TYPE_CHECKING:
    from monge.params import Params
    from monge.paths import Paths

Minutes = Annotated[float, typer.Option(min=0.01, max=1440, help="A bound on the time it takes.")]
Seed = Annotated[int, typer.Option(min=0, max=2**62, help="The same seed, the same result.")]


@app.command()
def project(
    images: Annotated[
        list[Path], typer.Argument(help="Files, folders, archives.", metavar="PICTURES")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="An .npz: latents, names, the generator's hash.")
    ] = Path("latents.npz"),
    show: Annotated[
        Path | None, typer.Option(help="A .png of the pictures and their projections.")
    ] = None,
    minutes: Minutes = 2.0,
    restarts: Annotated[
        int, typer.Option(min=1, max=256, help="Starts for each picture, the nearest samples.")
    ] = 8,
    steps: Annotated[int, typer.Option(min=0, max=100_000, help="Steps from each start.")] = 300,
    samples: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Images drawn to choose the starts from.")
    ] = 4096,
    label: Annotated[
        str | None, typer.Option(help="A conditional generator's class; without, it is tried.")
    ] = None,
    encoder: Annotated[
        Path | None, typer.Option(help="An encoder.onnx, whose answers are one start more.")
    ] = None,
    seed: Seed = 0,
    params: ParamsFile = Path("params.yaml"),
    override: Overrides = None,
) -> None:
    """Search for the latents of pictures, for a generator without an encoder."""
    from monge.stages.projecting import project

    for line in project(
        *_of_project(params, override), sources=images, output=output, show=show,
        label=label, encoder=encoder, seconds=60 * minutes, restarts=restarts, steps=steps,
        samples=samples, seed=seed,
    ):  # fmt: skip
        typer.echo(line)


@app.command(name="train-encoder")
def train_encoder(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A folder: a copy of the generator, its encoder.")
    ] = Path("models/with-encoder"),
    minutes: Minutes = 1.0,
    steps: Annotated[int, typer.Option(min=1, max=10_000_000, help="Steps at most.")] = 3000,
    batch: Annotated[int, typer.Option(min=2, max=4096, help="Images of a step.")] = 64,
    seed: Seed = 0,
    params: ParamsFile = Path("params.yaml"),
    override: Overrides = None,
) -> None:
    """Train an encoder for a generator without one, on that generator's own images."""
    from monge.stages.inverting import train_encoder

    for line in train_encoder(
        *_of_project(params, override), folder=output, seconds=60 * minutes,
        steps=steps, batch=batch, seed=seed,
    ):  # fmt: skip
        typer.echo(line)


def _of_project(params: Path, override: list[str] | None) -> tuple[Params, Paths]:
    from monge.params import load
    from monge.paths import Paths

    return load(params, override, chosen=("prepare", "train")), Paths(params.resolve().parent)

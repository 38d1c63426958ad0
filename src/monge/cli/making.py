"""`monge prepare`, `train`, `export`, `evaluate` and what belongs to judging."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from monge.cli.base import RANK, Exactly, Overrides, ParamsFile, app, run_stage
from monge.durations import duration
from monge.sizes import resolution


class IfChanged(StrEnum):
    """The choices for checkpoints of another training."""

    refuse = "refuse"
    fresh = "fresh"


class Colour(StrEnum):
    """Channels of packed images."""

    grey = "grey"
    rgb = "rgb"
    rgba = "rgba"


@app.command()
def prepare(
    exactly: Exactly = None,
    params: ParamsFile = Path("params.yaml"),
    override: Overrides = None,
) -> None:
    """Pack the images into a dataset: data/prepared."""
    run_stage("prepare", params, override, exactly)  # it logs what it packed


@app.command()
def train(
    exactly: Exactly = None,
    params: ParamsFile = Path("params.yaml"),
    override: Overrides = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start again; the old checkpoints are set aside.")
    ] = False,
    if_changed: Annotated[
        IfChanged,
        typer.Option(
            case_sensitive=False,
            help="When the checkpoints are of another training: refuse, or start fresh.",
        ),
    ] = IfChanged.refuse,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show networks, memory and time; change nothing.")
    ] = False,
) -> None:
    """Train on the packed dataset; goes on from the newest checkpoint."""
    how: dict[str, Any] = {"fresh": fresh, "if_changed": if_changed.value}
    if dry_run:
        for line in run_stage("plan", params, override, exactly, "train", **how):
            typer.echo(line)
        return
    code = run_stage("launch", params, override, exactly, "train", arguments=sys.argv[1:])
    if code is not None:  # the processes that it started have said the rest
        raise typer.Exit(code)
    outcome = run_stage("train", params, override, exactly, **how)
    if RANK != "0":
        return
    if outcome.resumed_from == outcome.step:
        typer.echo(f"the training is complete at step {outcome.step}: nothing to do")
    else:
        done = outcome.step - outcome.resumed_from
        typer.echo(
            f"step {outcome.step}: {done} iterations in {duration(outcome.seconds)} "
            f"({done / outcome.seconds:.1f}/s)"
        )


@app.command()
def export(
    exactly: Exactly = None,
    params: ParamsFile = Path("params.yaml"),
    override: Overrides = None,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Export a training that is not at its end, too.")
    ] = False,
    triton: Annotated[
        Path | None, typer.Option(help="Write a model repository for Triton into this folder, too.")
    ] = None,
) -> None:
    """Write the best checkpoint as models/generator.onnx."""
    path, parity, encoder = run_stage("export", params, override, exactly, unfinished=unfinished)
    typer.echo(
        f"{path}: {parity.word} the network on {parity.images} images (largest difference "
        f"{parity.max_difference:.1e}, {parity.differing_fraction:.2%} of grey levels apart)"
    )
    if encoder is not None:
        typer.echo(f"and its encoder, for `monge encode` (largest difference {encoder:.1e})")
    if triton is not None:
        typer.echo(f"{run_stage('triton', params, override, folder=triton)}: for Triton")


@app.command()
def evaluate(
    exactly: Exactly = None,
    params: ParamsFile = Path("params.yaml"),
    override: Overrides = None,
) -> None:
    """Judge the generator file by figures and pictures: reports/."""
    for line in run_stage("evaluate", params, override, exactly):
        typer.echo(line)


@app.command()
def metrics(
    first: Annotated[
        str, typer.Argument(help="A folder or archive of images, a packed dataset, a generator.")
    ],
    second: Annotated[str, typer.Argument(help="Another; the reference, real images as a rule.")],
    params: ParamsFile = Path("params.yaml"),
    override: Overrides = None,
    size: Annotated[
        str | None, typer.Option(help="Pixels to compare at: 64, or 48x32 (width x height).")
    ] = None,
    colour: Annotated[
        Colour | None,
        typer.Option(
            case_sensitive=False, help="Colour of folders and archives; rgb if none says."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write JSON, too, with every protocol."),
    ] = None,
) -> None:
    """Measure how far apart two sets of images are, by every figure there is."""
    asked = colour.value if colour else None
    try:
        wanted = None if size is None else resolution(int(size) if size.isdecimal() else size)
    except ValueError as error:
        raise typer.BadParameter(f"{error}, got {size!r}", param_hint="--size") from None
    options: dict[str, Any] = {"size": wanted, "colour": asked, "output": output}
    if params == Path("params.yaml") and not params.exists():  # two folders need no project
        params = Path(os.devnull)
    for line in run_stage("metrics", params, override, first=first, second=second, **options):
        typer.echo(line)


@app.command()
def report(params: ParamsFile = Path("params.yaml"), override: Overrides = None) -> None:
    """Write the report's page, card and comment anew, of what evaluate and promote left."""
    typer.echo(run_stage("report", params, override))

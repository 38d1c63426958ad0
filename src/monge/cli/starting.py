"""`monge new` and `monge choose`: from a set of images to parameters that suit them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from monge.cli.base import Overrides, ParamsFile, app

Minutes = Annotated[float, typer.Option(min=1, max=1e6, help="Minutes for all of it, about.")]


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="The product's name; '' takes that of the images.")],
    images: Annotated[Path, typer.Argument(help="A folder or an archive of images.")],
    minutes: Minutes = 30,
    override: Overrides = None,
    run: Annotated[
        bool, typer.Option("--run/--no-run", help="Go on to a judged and promoted generator.")
    ] = True,
) -> None:
    """Make products/NAME from a folder of images, and run its chain to a generator."""
    from monge import products, stages
    from monge.params.file import changes_of_make

    name = name or stages.product_name(Path.cwd(), images)
    for line in stages.new(Path.cwd(), name, images, [*(override or []), *changes_of_make()]):
        typer.echo(line)
    if not run:
        typer.echo(f"run it with: make run PRODUCT={name} MINUTES={minutes:g}")
        return
    home = products.home(Path.cwd())
    command = [sys.executable, "-m", "pipelines", "--product", name, "--minutes", str(minutes)]
    command += [part for change in override or [] for part in ("--set", change)]
    sys.stdout.flush()
    raise typer.Exit(_in_our_place(command, home))


def _in_our_place(command: list[str], folder: Path) -> int:
    """Run the flow, which passes Ctrl-C on by itself; its exit code."""
    process = subprocess.Popen(command, cwd=folder)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # the flow got it, too, and saves its work
            continue


@app.command()
def choose(params: ParamsFile = Path("params.yaml"), minutes: Minutes = 30) -> None:
    """Fill in what is `auto` in the parameter file, from the images and this machine."""
    from monge import stages
    from monge.params import PARAMS_FILE
    from monge.paths import Paths

    file = Path(os.environ.get(PARAMS_FILE, params)) if params == Path("params.yaml") else params
    for line in stages.choose(file, Paths(params.resolve().parent), minutes=minutes):
        typer.echo(line)

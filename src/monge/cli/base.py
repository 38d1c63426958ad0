"""The command's name and its first options, and how a command finds its project."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from monge import __version__

app = typer.Typer(
    name="monge",
    help="From images to a generator that other programs can use: train, track, judge, promote, "
    "serve.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

RANK = os.environ.get("RANK", "0")
"""Which of several processes that train together this is; the first one speaks."""

ParamsFile = Annotated[
    Path, typer.Option("--params", help="The parameter file; its folder is the project's.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a parameter; repeatable."),
]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"monge {__version__}")
        raise typer.Exit()


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Options of every command."""


def run_stage(name: str, params: Path, override: list[str] | None, **options: Any) -> Any:
    """Run one stage of the project that the parameter file lies in."""
    from monge import stages
    from monge.params import load
    from monge.paths import Paths

    stage: Callable[..., Any] = getattr(stages, name)
    return stage(load(params, override), Paths(params.resolve().parent), **options)

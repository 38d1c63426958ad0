"""The command's name and its first options, and how a command finds its project."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from monge import __version__, servers
from monge.errors import InputError
from monge.products import home

app = typer.Typer(
    name="monge",
    help="From images to a generator that other programs can use: train, track, judge, promote, "
    "serve.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

REMEMBERING = ("train", "evaluate", "promote", "rollback", "models", "compare", "report")
"""The commands that ask or tell MLflow, whatever they are given."""

RANK = os.environ.get("RANK", "0")
"""The rank among several processes that train together; the first one speaks."""

ParamsFile = Annotated[
    Path, typer.Option("--params", help="The parameter file; its folder is the project's.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a parameter; repeatable."),
]

Exactly = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[-- PARAMETERS]",
        help="All of the stage's parameters, in the place of the file's section: what DVC gives.",
        show_default=False,
    ),
]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"monge {__version__}")
        raise typer.Exit()


@app.callback()
def options(
    folder: Annotated[
        Path | None,
        typer.Option("-C", metavar="FOLDER", help="Work in this folder, as products/NAME."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Options of every command."""
    if folder is not None:
        if not folder.is_dir():
            raise InputError(f"-C {folder}: no such folder.")
        os.chdir(folder)
    _use_servers()


def _use_servers() -> None:
    """Use the servers of `make up` where the environment names no others, and say so."""
    told = servers.use(home(Path.cwd()))
    of_registry = any(word in REMEMBERING or "models:/" in word for word in sys.argv[1:])
    if told and of_registry and RANK == "0":
        typer.echo(f"monge: {told}", err=True)


def run_stage(
    name: str,
    params: Path,
    override: list[str] | None,
    exactly: list[str] | None = None,
    section: str = "",
    **options: Any,
) -> Any:
    """Run one stage of the project that the parameter file lies in.

    `exactly` are the words of a whole section, the stage's own, which stands for the file's.
    """
    from monge import stages
    from monge.errors import MadeOtherwise
    from monge.parameter_line import parse
    from monge.params import PARAMS_FILE, load
    from monge.paths import Paths
    from monge.stages import dvc_lock

    stage: Callable[..., Any] = getattr(stages, name)
    section = section or name
    paths = Paths(params.resolve().parent)
    sections = {section: parse(section, exactly)} if exactly else {}
    if dvc_lock.runs_this():  # what came before was fixed when DVC began, whatever the file has now
        sections |= dvc_lock.sections_before(section, paths)
    if params == Path("params.yaml"):
        params = Path(os.environ.get(PARAMS_FILE, params))
    try:
        chosen = ("prepare",) if section == "prepare" else ("prepare", "train")
        return stage(load(params, override, sections, chosen=chosen), paths, **options)
    except MadeOtherwise as other:
        if dvc_lock.runs_this() and other.stage != name and dvc_lock.distrust(paths, other.stage):
            other.args = (f"{other} dvc.lock had it otherwise: that entry is taken out, and the "
                          "same command makes it true.",)  # fmt: skip
        raise

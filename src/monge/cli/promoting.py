"""`monge promote` and what a person does about versions later."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from monge.cli.base import Overrides, ParamsFile, app, run_stage
from monge.errors import InputError


@app.command()
def promote(
    params: ParamsFile = Path("params.yaml"),
    override: Overrides = None,
    force: Annotated[
        bool, typer.Option("--force", help="Make it champion whatever the gate says.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why it is forced; kept with the version.")] = "",
    sign: Annotated[
        Path | None,
        typer.Option(envvar="MONGE_SIGNING_KEY", help="Sign it with this private key (PEM)."),
    ] = None,
) -> None:
    """Register the judged file; make it champion if it is better."""
    if force and not reason.strip():
        raise InputError("--force needs a --reason, which is kept with the version.")
    if reason and not force:
        raise InputError("--reason goes with --force.")
    typer.echo(run_stage("promote", params, override, force=reason if force else None, sign=sign))


@app.command()
def rollback(
    reason: Annotated[str, typer.Option(help="Why; kept with the version.")],
    params: ParamsFile = Path("params.yaml"),
    override: Overrides = None,
    to: Annotated[int | None, typer.Option(help="A version; else the champion before.")] = None,
) -> None:
    """Make an older version champion again."""
    typer.echo(run_stage("rollback", params, override, reason=reason, to=to))


@app.command()
def models(
    name: Annotated[str, typer.Argument(help="One model's; else all there are.")] = "",
    params: ParamsFile = Path("params.yaml"),
    override: Overrides = None,
    show: Annotated[
        str | None,
        typer.Option(metavar="N", help="One version: its origin, and how to make it again."),
    ] = None,
) -> None:
    """List the registered models and their versions: aliases, figures, data, age."""
    asked: dict[str, Any] = {"only": name} if show is None else {"which": show}
    for line in run_stage("models" if show is None else "show", params, override, **asked):
        typer.echo(line)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="A version's number or alias.")],
    second: Annotated[str, typer.Argument(help="Another's.")],
    params: ParamsFile = Path("params.yaml"),
    override: Overrides = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="A picture of both.")] = Path(
        "compare.png"
    ),
) -> None:
    """Compare two versions' figures, and say whether they differ by more than noise."""
    for line in run_stage("compare", params, override, first=first, second=second, picture=output):
        typer.echo(line)

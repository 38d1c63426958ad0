"""`monge ...`: each stage is a command; a deliberate error becomes a message and an exit code."""

from __future__ import annotations

import errno
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monge import __version__
from monge.errors import InputError, MissingExtra, MongeError, StorageError

if TYPE_CHECKING:
    from monge.serving.sampler import Sampler

app = typer.Typer(
    name="monge",
    help="From images to a generator that other programs can use: train, track, judge, promote, "
    "serve.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_STORAGE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}

_RANK = os.environ.get("RANK", "0")
"""Which of several processes that train together this is; the first one speaks."""

ParamsFile = Annotated[
    Path, typer.Option("--params", help="The parameter file; its folder is the project's.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a parameter; repeatable."),
]


class IfChanged(StrEnum):
    """What `monge train` does with checkpoints of another training."""

    refuse = "refuse"
    fresh = "fresh"


class Provider(StrEnum):
    """ONNX Runtime's execution provider."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Colour(StrEnum):
    """Channels of packed images."""

    grey = "grey"
    rgb = "rgb"


class Shards(StrEnum):
    """How a folder of shards is written."""

    webdataset = "webdataset"
    parquet = "parquet"


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


@app.command()
def prepare(params: ParamsFile = Path("params.yaml"), override: Overrides = None) -> None:
    """Images to a packed dataset: data/prepared."""
    _stage("prepare", params, override)  # it logs what it packed


@app.command()
def train(
    params: ParamsFile = Path("params.yaml"),
    override: Overrides = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start again; the old checkpoints are set aside.")
    ] = False,
    if_changed: Annotated[
        IfChanged,
        typer.Option(help="When the checkpoints are of another training: refuse, or start fresh."),
    ] = IfChanged.refuse,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show networks, memory and time; change nothing.")
    ] = False,
) -> None:
    """The packed dataset to checkpoints; goes on from the newest one."""
    if dry_run:
        for line in _stage("plan", params, override, fresh=fresh, if_changed=if_changed.value):
            typer.echo(line)
        return
    code = _stage("launch", params, override, arguments=sys.argv[1:])
    if code is not None:  # the processes that it started have said the rest
        raise typer.Exit(code)
    outcome = _stage("train", params, override, fresh=fresh, if_changed=if_changed.value)
    if _RANK != "0":
        return
    if outcome.resumed_from == outcome.step:
        typer.echo(f"the training is complete at step {outcome.step}: nothing to do")
    else:
        done = outcome.step - outcome.resumed_from
        typer.echo(
            f"step {outcome.step}: {done} iterations in {outcome.seconds:.0f} s "
            f"({done / outcome.seconds:.1f}/s)"
        )


@app.command()
def export(
    params: ParamsFile = Path("params.yaml"),
    override: Overrides = None,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Also from a training that is not at its end.")
    ] = False,
    triton: Annotated[
        Path | None, typer.Option(help="Write a model repository for Triton into this folder, too.")
    ] = None,
) -> None:
    """The best checkpoint to models/generator.onnx."""
    path, parity = _stage("export", params, override, unfinished=unfinished)
    typer.echo(
        f"{path}: {parity.word} the network on {parity.images} images (largest difference "
        f"{parity.max_difference:.1e}, {parity.differing_fraction:.2%} of grey levels apart)"
    )
    if triton is not None:
        typer.echo(f"{_stage('triton', params, override, folder=triton)}: for Triton")


@app.command()
def evaluate(params: ParamsFile = Path("params.yaml"), override: Overrides = None) -> None:
    """The generator file to figures and pictures: reports/."""
    for line in _stage("evaluate", params, override):
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
        int | None, typer.Option(min=4, max=1024, help="Height and width to compare at, in pixels.")
    ] = None,
    colour: Annotated[
        Colour | None, typer.Option(help="Of folders and archives; rgb if no side says.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Also as JSON, with every protocol.")
    ] = None,
) -> None:
    """How far apart two sets of images are, by every figure there is."""
    options = {"size": size, "colour": colour.value if colour else None, "output": output}
    if params == Path("params.yaml") and not params.exists():  # two folders need no project
        params = Path(os.devnull)
    for line in _stage("metrics", params, override, first=first, second=second, **options):
        typer.echo(line)


@app.command()
def report(params: ParamsFile = Path("params.yaml"), override: Overrides = None) -> None:
    """The report's page, card and comment anew, of what evaluate and promote left."""
    typer.echo(_stage("report", params, override))


@app.command()
def promote(
    params: ParamsFile = Path("params.yaml"),
    override: Overrides = None,
    force: Annotated[
        bool, typer.Option("--force", help="Make it champion whatever the gate says.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why it is forced; kept with the version.")] = "",
) -> None:
    """Register the judged file; make it champion if it is better."""
    if force and not reason.strip():
        raise InputError("--force needs a --reason, which is kept with the version.")
    if reason and not force:
        raise InputError("--reason goes with --force.")
    typer.echo(_stage("promote", params, override, force=reason if force else None))


@app.command()
def rollback(
    reason: Annotated[str, typer.Option(help="Why; kept with the version.")],
    params: ParamsFile = Path("params.yaml"),
    override: Overrides = None,
    to: Annotated[int | None, typer.Option(help="A version; else the champion before.")] = None,
) -> None:
    """Make an older version champion again."""
    typer.echo(_stage("rollback", params, override, reason=reason, to=to))


@app.command()
def models(params: ParamsFile = Path("params.yaml"), override: Overrides = None) -> None:
    """List the registered versions: aliases, figures, data, age."""
    for line in _stage("models", params, override):
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
    """Two versions' figures, and whether they differ by more than noise."""
    for line in _stage("compare", params, override, first=first, second=second, picture=output):
        typer.echo(line)


@app.command()
def sample(
    model: Annotated[str, typer.Argument(help="A .onnx file, an address, models:/NAME@champion.")],
    n: Annotated[int, typer.Option("-n", help="How many images.")] = 64,
    seed: Annotated[int, typer.Option(help="Image i of a seed is always the same.")] = 0,
    first: Annotated[int, typer.Option(help="Index of the first image.")] = 0,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A .png (grid), a .npz, or a folder of PNGs.")
    ] = Path("samples.png"),
    provider: Annotated[Provider, typer.Option(help="Where to compute.")] = Provider.auto,
    truncation: Annotated[
        float | None, typer.Option(help="Latents within so many standard deviations.")
    ] = None,
    shards: Annotated[
        Shards | None, typer.Option(help="Fill a folder with shards; the same command goes on.")
    ] = None,
    shard_size: Annotated[int, typer.Option(help="Images of a shard.")] = 10_000,
) -> None:
    """Draw images from a generator file or a registered model."""
    if n < 1:
        raise InputError(f"-n must be at least 1, got {n}.")
    from monge.serving import pictures
    from monge.serving.sampler import Sampler

    sampler = Sampler.load(model, provider=provider.value)
    if shards is None:
        images = sampler.sample(n, seed=seed, first=first, truncation=truncation)
        pictures.write(images, output)
    else:
        if first or truncation is not None:
            raise InputError("--shards takes neither --first nor --truncation.")
        _fill(sampler, output, n=n, seed=seed, shard_size=shard_size, format=shards.value)
    typer.echo(f"{n} images of seed {seed} in {output} ({sampler.provider})")


def _fill(sampler: Sampler, folder: Path, **plan: Any) -> None:
    """Make the shards that are missing: a bar on a terminal, a line every 10 s elsewhere."""
    from monge.serving import bulk

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
    model: Annotated[str, typer.Argument(help="A .onnx file, an address, models:/NAME@champion.")],
    provider: Annotated[Provider, typer.Option(help="Where to compute.")] = Provider.auto,
) -> None:
    """What a generator file says of itself, and how fast it is here."""
    from monge.serving.inspect import describe

    for line in describe(model, provider.value):
        typer.echo(line)


@app.command()
def serve(
    model: Annotated[
        str,
        typer.Argument(
            help="A .onnx file, an address, or models:/NAME@champion, which is followed."
        ),
    ],
    host: Annotated[str, typer.Option(help="Anything but loopback needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
    provider: Annotated[Provider, typer.Option(help="Where to compute.")] = Provider.auto,
    threads: Annotated[int, typer.Option(help="Of the network; 0 is one a core.")] = 0,
    max_images: Annotated[int, typer.Option(min=1, help="Of one request.")] = 1024,
    queue_images: Annotated[int, typer.Option(min=1, help="That may wait; beyond it: 429.")] = 4096,
    timeout_s: Annotated[float, typer.Option(min=0.001, help="Of one request.")] = 30.0,
    rate: Annotated[float, typer.Option(min=0, help="Requests a second of a client; 0: any.")] = 0,
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the token; else MONGE_TOKEN.")
    ] = None,
    poll_s: Annotated[float, typer.Option(min=0.1, help="How often the alias is looked at.")] = 10,
) -> None:
    """Answer requests for images over HTTP, until a signal."""
    from monge.server.drawing import Limits
    from monge.server.run import serve as run

    limits = Limits(images=max_images, queue_images=queue_images, timeout_s=timeout_s)
    run(
        model, host=host, port=port, provider=provider.value, threads=threads, limits=limits,
        rate=rate, token_file=token_file, poll_s=poll_s,
    )  # fmt: skip


def _stage(name: str, params: Path, override: list[str] | None, **options: Any) -> Any:
    """Run one stage of the project that the parameter file lies in."""
    from monge import stages
    from monge.params import load
    from monge.paths import Paths

    stage: Callable[..., Any] = getattr(stages, name)
    return stage(load(params, override), Paths(params.resolve().parent), **options)


def main() -> None:
    """The console command. Exit codes: 0 done, 2 the input, 3 the environment, 4 the training."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("monge").setLevel(logging.INFO if _RANK == "0" else logging.ERROR)
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")  # accepted anywhere on the line
    try:
        code = app(standalone_mode=False)
    except typer.Exit as done:
        code = done.exit_code
    except (MongeError, OSError, KeyboardInterrupt, typer.Abort) as error:
        code = _report(error, debug)
    except ModuleNotFoundError as error:
        code = _report(_missing(error), debug)
    except Exception as error:
        code = _usage(error, debug)
    _leave(code if isinstance(code, int) else 0)


def _report(error: BaseException, debug: bool) -> int:
    """Say what happened in a line or two; the exit code."""
    if debug:
        traceback.print_exception(error)
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        _say("interrupted")
        return 130
    if isinstance(error, OSError):
        if error.errno not in _STORAGE:
            raise error
        error = StorageError(
            f"{error.filename or 'a file'}: {error.strerror}. Free space or allow access, then run "
            "the same command."
        )
    code = error.exit_code if isinstance(error, MongeError) else 3
    _say(str(error), code)
    return code


def _missing(error: ModuleNotFoundError) -> MongeError:
    """A package of an extra that is not installed; one of ours is a bug."""
    package = (error.name or "").partition(".")[0]
    if package in ("monge", ""):
        raise error
    extra = "pipeline" if package in ("mlflow", "dvc", "prefect", "torchvision") else "train"
    return MissingExtra(
        f"this command needs more than is installed (no module {package}): "
        f"pip install 'monge[{extra}]'."
    )


def _usage(error: Exception, debug: bool) -> int:
    """A wrong command line is shown as one; anything else is a bug and keeps its traceback."""
    show = getattr(error, "format_message", None)
    if show is None or debug:
        raise error
    _say(f"{show()} (see `monge --help`)")
    return 2


def _say(message: str, code: int = 0) -> None:
    """Print a message; of several ranks that meet the same end only the first says so."""
    if _RANK == "0":
        print(f"monge: {message}", file=sys.stderr, flush=True)
    elif code == 3:
        print(f"monge: rank {_RANK}: {message}", file=sys.stderr, flush=True)


def _leave(code: int) -> None:
    """Exit at once: the work is done, and tearing torch and ONNX Runtime down takes a second."""
    logging.shutdown()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = code or 1
    os._exit(code)

"""`monge ...`: each stage is a command; a deliberate error becomes a message and an exit code."""

from __future__ import annotations

import errno
import logging
import os
import sys
from pathlib import Path

import typer

from monge.cli import (  # the commands, in the order of the help
    data,
    encoding,
    inventory,
    making,
    projecting,
    promoting,
    sampling,
    serving,
    starting,
)
from monge.cli.base import RANK, app
from monge.cli.memory import for_want_of_memory
from monge.credentials import Formatter, hidden, trace
from monge.errors import InputError, MissingExtra, MongeError, StorageError
from monge.files import unlinked
from monge.imports import uncollected
from monge.outputs import Patient

__all__ = [
    "app", "data", "encoding", "inventory", "main", "making", "projecting", "promoting", "sampling",
    "serving", "starting",
]  # fmt: skip

_STORAGE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
_NAMES = {errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ELOOP}


def main() -> None:
    """The console command. Exit codes: 0 done, 2 the input, 3 the environment, 4 the training."""
    uncollected()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    for handler in logging.getLogger().handlers:
        handler.setFormatter(Formatter("%(message)s"))
    sys.excepthook = trace
    sys.stdout = Patient(sys.stdout)
    logging.getLogger("monge").setLevel(logging.INFO if RANK == "0" else logging.ERROR)
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")  # accepted anywhere on the line
    try:
        # As `app()` does, which would put back Python's own hook for tracebacks.
        code = typer.main.get_command(app)(standalone_mode=False)
    except typer.Exit as done:
        code = done.exit_code
    except (MongeError, OSError, KeyboardInterrupt, typer.Abort) as error:
        code = _report(error, debug)
    except ModuleNotFoundError as error:
        code = _report(_missing(error), debug)
    except Exception as error:
        short = for_want_of_memory(error)
        code = _usage(error, debug) if short is None else _report(short, debug)
    _leave(code if isinstance(code, int) else 0)


def _report(error: BaseException, debug: bool) -> int:
    """Say what happened in a line or two; the exit code."""
    if debug:
        trace(type(error), error)
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        _say("interrupted")
        return 130
    if isinstance(error, OSError):
        error = _of_file(error)
    code = error.exit_code if isinstance(error, MongeError) else 3
    _say(str(error), code)
    return code


def _of_file(error: OSError) -> MongeError:
    """An error of the disk, or of a name that cannot be or is another thing than was meant."""
    name, why = str(error.filename or "a file"), error.strerror
    if error.errno in _STORAGE:
        remedy = unlinked(Path(name), error) or "Free space or allow access"
        return StorageError(f"{name}: {why}. {remedy}, then run the same command.")
    if (no_memory := for_want_of_memory(error)) is not None:
        return no_memory
    if error.errno not in _NAMES:
        raise error
    short = name if len(name) <= 80 else f"{name[:40]}...{name[-20:]}"
    return InputError(f"{short}: {why}. Name another one.")


_EXTRAS = {
    "pipeline": ("mlflow", "dvc", "prefect", "torchvision"),
    "server": ("fastapi", "starlette", "uvicorn", "prometheus_client"),
}


def _missing(error: ModuleNotFoundError) -> MongeError:
    """A package of an extra that is not installed; one of ours is a bug."""
    package = (error.name or "").partition(".")[0]
    if package in ("monge", ""):
        raise error
    extra = next((extra for extra, packages in _EXTRAS.items() if package in packages), "train")
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
    if RANK == "0":
        print(f"monge: {hidden(message)}", file=sys.stderr, flush=True)
    elif code == 3:
        print(f"monge: rank {RANK}: {hidden(message)}", file=sys.stderr, flush=True)


def _leave(code: int) -> None:
    """Exit at once: the work is done, and tearing torch and ONNX Runtime down takes a second."""
    logging.shutdown()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = code or 1
    os._exit(code)

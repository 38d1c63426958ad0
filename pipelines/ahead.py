"""`monge promote`, started ahead of its turn: what it needs of MLflow is imported by then.

    python -m pipelines.ahead FD

Where no file has to be made again, that import is a third of the run, and it can be done while
Prefect is imported. The process waits at FD for one line: the folder and the environment to work
in, as JSON. Where the line does not come, it ends without having done anything.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pipelines import child
from pipelines.child import Ended

_NEEDED = (
    "mlflow", "mlflow.store.tracking.sqlalchemy_store", "monge.registry.promote", "monge.stages",
)  # fmt: skip

FRESH_S = 120.0
"""The age up to which it is used: it has the code and the packages of when it was started."""


class _Waiting(NamedTuple):
    process: subprocess.Popen[str]
    word: int
    since_s: float


_waiting: list[_Waiting] = []


def begin() -> None:
    """Start it, where an earlier run has come as far, so that this one may have nothing to make."""
    if not Path("dvc.lock").exists() or not Path("reports").exists():
        return
    end, word = os.pipe()
    command = [sys.executable, "-m", "pipelines.ahead", str(end)]
    process = child.start(command, {}, pass_fds=(end,))
    _waiting.append(_Waiting(process, word, time.monotonic()))
    os.close(end)


def dismiss() -> None:
    """Let it go, if it waits: there is more to do first than it should wait for."""
    for process, word, _ in _taken():
        os.close(word)
        child.drop(process)


def run(log: Callable[[str], None], **environment: str) -> Ended | None:
    """Let it work, with more in its environment. None where none waits that lives and is fresh."""
    if any(time.monotonic() - each.since_s > FRESH_S for each in _waiting):
        dismiss()
    for process, word, _ in _taken():
        line = json.dumps([os.getcwd(), child.our_environment() | environment]) + "\n"
        try:
            with os.fdopen(word, "w") as pipe:
                pipe.write(line)
        except BrokenPipeError:
            child.follow(process, log)
            return None
        return child.follow(process, log)
    return None


def _taken() -> list[_Waiting]:
    taken = list(_waiting)
    _waiting.clear()
    return taken


def _main(end: int) -> None:
    for name in _NEEDED:
        with suppress(Exception):  # said by the command itself, if it is needed
            importlib.import_module(name)
    with os.fdopen(end) as pipe:
        line = pipe.readline()
    if not line.endswith("\n"):
        return
    folder, environment = json.loads(line)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["monge", "promote"]
    from monge.cli import main

    main()


if __name__ == "__main__":
    _main(int(sys.argv[1]))

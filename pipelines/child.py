"""Run a command as a child whose every line is logged and who never outlives us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from monge.credentials import hidden
from monge.products import home

_running: set[subprocess.Popen[str]] = set()
stopping = False
"""True once we are asked to stop: what runs saves its work and ends, nothing new starts."""

GRACE_S = 20.0
"""The time of a child to save its work after SIGTERM: less than Prefect gives a run."""

_GUARD = str(Path(__file__).with_name("guard.py"))


@dataclass(frozen=True)
class Ended:
    """The end of a child: its exit code (negative: the signal that killed it), its last lines."""

    code: int
    tail: tuple[str, ...]


def run(command: Sequence[str], log: Callable[[str], None], **environment: str) -> Ended:
    """Run to the end, with more in its environment, handing each line to `log`.

    If anything stops us meanwhile (a cancelled run, Ctrl-C), the child and its children get
    SIGTERM, then SIGKILL, before we go on stopping: DVC leaves its stage running otherwise. If we
    are killed, the guard that the child runs under does the same.
    """
    return follow(start(command, environment), log)


def start(
    command: Sequence[str], environment: Mapping[str, str], pass_fds: Sequence[int] = ()
) -> subprocess.Popen[str]:
    """Start it under the guard. Who starts one follows it to its end, or drops it."""
    process = subprocess.Popen(
        guarded(GRACE_S, command), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        bufsize=1, env={**our_environment(), **environment}, start_new_session=True,
        pass_fds=pass_fds,
    )  # fmt: skip
    _running.add(process)
    return process


def follow(process: subprocess.Popen[str], log: Callable[[str], None]) -> Ended:
    """Hand each line of what was started to `log`, to the end."""
    tail: deque[str] = deque(maxlen=20)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            text = hidden(line.rstrip())
            if text:
                tail.append(text)
                log(text)
        return Ended(process.wait(), tuple(tail))
    except BaseException:
        _end(process)
        raise
    finally:
        _forget(process)


def drop(process: subprocess.Popen[str]) -> None:
    """End what was started and has not begun to work."""
    _end(process)
    _forget(process)


def _forget(process: subprocess.Popen[str]) -> None:
    _running.discard(process)
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def guarded(grace_s: float, command: Sequence[str]) -> list[str]:
    """Put the guard in front of a command: when its standard input closes, the command ends."""
    return [sys.executable, "-I", "-S", _GUARD, str(grace_s), *command]


def stop(_number: int = 0, _frame: FrameType | None = None) -> None:
    """Handle a signal: what runs gets SIGTERM, at a second signal SIGKILL."""
    global stopping  # noqa: PLW0603 (a signal handler can be told nothing)
    number = signal.SIGKILL if stopping else signal.SIGTERM
    stopping = True
    for process in tuple(_running):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)


def our_environment() -> dict[str, str]:
    """Ours, with this interpreter's commands first on the path: `monge`, `dvc`, `mlflow`.

    Their code is that of the checkout that we work in, whichever one the environment was made for.
    """
    commands = str(Path(sys.executable).parent)
    path = os.pathsep.join([commands, os.environ.get("PATH", os.defpath)])
    found = os.environ | {"PATH": path, "PYTHONUNBUFFERED": "1"}
    code = home(Path.cwd()) / "src"
    if (code / "monge").is_dir():
        others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        found["PYTHONPATH"] = os.pathsep.join([str(code), *filter(None, others)])
    return found


def _end(process: subprocess.Popen[str]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            continue
        if number is signal.SIGTERM and not _group_is_gone(process.pid, GRACE_S):
            continue
        return


def _group_is_gone(group: int, within_s: float) -> bool:
    """Tell whether every process of the group ends in time: the leader may go before others."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return True
        time.sleep(0.1)
    return False

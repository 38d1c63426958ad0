"""Processes of ours, told from others that have come to their number since.

A process is known by its id together with the time at which the kernel started it. What it starts
itself has our mark in its environment, by which it is found when its parent is gone.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from monge.files import write_whole

MARK = "MONGE_STACK"

_children: set[int] = set()


@dataclass(frozen=True)
class Running:
    """A server's process: who it is, since when (seconds of the epoch), and what it was made of."""

    pid: int
    started: str
    since_s: float
    fingerprint: str

    @property
    def age_s(self) -> float:
        """For how long it runs, by the clock that the kernel began with: nobody sets that one."""
        ticks = float(self.started.rpartition(":")[2] or "nan")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")

    @property
    def alive(self) -> bool:
        """Tell whether this very process is there still."""
        return birth(self.pid) == self.started


def birth(pid: int) -> str:
    """Read when the kernel started a process, told apart between boots; empty where none is."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else f"{boot}:{fields[19]}"


def known(state: Path, name: str) -> Running | None:
    """The server of that name that runs now; a stale file, or another's process, is none."""
    try:
        found = Running(**json.loads(_file(state, name).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return found if found.alive else None


def start(
    state: Path, name: str, fingerprint: str, command: Sequence[str], folder: Path,
    environment: Mapping[str, str], log: Path, user: str | None,
) -> Running:  # fmt: skip
    """Start a server in a session of its own, its words going to the end of a log."""
    given: dict[str, Any] = (
        {"user": user, "group": user_group(user), "extra_groups": []} if user else {}
    )
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, cwd=folder, env={**environment, MARK: _mark(state, name)}, stdout=out,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True, **given,
        )  # fmt: skip
    running = Running(process.pid, birth(process.pid), time.time(), fingerprint)
    write_whole(_file(state, name), json.dumps(asdict(running)).encode())
    _children.add(process.pid)
    process.returncode = 0  # it is watched by its number: who starts us again is not its parent
    return running


def end(state: Path, name: str, number: signal.Signals, within_s: float) -> None:
    """Ask a server to stop and wait; what is there after `within_s` is killed, with its children.

    Of those that it leaves behind each is asked, too.
    """
    running = known(state, name)
    if running is not None:
        _send(running.pid, number)
        _wait(lambda: running.alive, within_s)
        if running.alive:
            _send(-running.pid, signal.SIGKILL)
            _wait(lambda: running.alive, 10.0)
    sweep(state, name)
    _file(state, name).unlink(missing_ok=True)


def sweep(state: Path, name: str, within_s: float = 10.0) -> None:
    """End what a server has left behind: SIGTERM, and SIGKILL for what stays."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in left(state, name):
            _send(pid, number)
        _wait(lambda: bool(list(left(state, name))), within_s)


def left(state: Path, name: str) -> Iterator[int]:
    """The processes that have a server's mark."""
    mark = f"{MARK}={_mark(state, name)}".encode()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or not birth(int(folder.name)):
            continue
        with suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name)


def reap() -> None:
    """Take the ended ones of what this process started away, so that none stays as a zombie."""
    for pid in tuple(_children):
        try:
            ended = os.waitpid(pid, os.WNOHANG)[0]
        except ChildProcessError:
            ended = pid
        if ended:
            _children.discard(pid)


def user_group(user: str) -> int:
    """A user's own group."""
    import pwd

    return pwd.getpwnam(user).pw_gid


def _mark(state: Path, name: str) -> str:
    return f"{state}:{name}"


def _file(state: Path, name: str) -> Path:
    return state / "run" / f"{name}.json"


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _wait(goes_on: Callable[[], bool], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline and goes_on():
        reap()
        time.sleep(0.1)

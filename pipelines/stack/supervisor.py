"""The one process that keeps all servers of a checkout: SIGHUP has it read its settings again.

Killed, it leaves the servers running; started again, it takes them over.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

from monge.errors import MongeError, ServiceError
from monge.files import lock, write_whole
from pipelines.stack import passwords, process
from pipelines.stack.keeper import Keeper, bound
from pipelines.stack.settings import VARIABLES, Place, kept
from pipelines.stack.table import Service, table

LOG = "supervisor.log"

log = logging.getLogger(__name__)


def pid(place: Place) -> int | None:
    """The supervisor's process, None where none runs: the lock is held by a live one only."""
    if not place.lock.exists():
        return None
    handle = lock(place.lock, wait=False)
    if handle is not None:
        os.close(handle)
        return None
    text = place.lock.read_text().strip()
    return int(text) if text.isdigit() else None


def start(place: Place) -> None:
    """Start the supervisor in a session of its own, which outlives the terminal.

    It reads settings and secrets from the files: a shell's of today are not for it to remember.
    """
    ours = {key: value for key, value in os.environ.items() if not key.startswith(VARIABLES)}
    with (place.logs / LOG).open("ab") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "pipelines.stack", "supervise"], cwd=place.checkout,
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, env=ours,
        )  # fmt: skip
    deadline = time.monotonic() + 60.0
    while pid(place) is None:
        if child.poll() is not None or time.monotonic() > deadline:
            raise ServiceError(f"the supervisor did not start; see {place.logs / LOG}.")
        time.sleep(0.1)
    child.returncode = 0  # it goes on without us


def report(place: Place) -> dict[str, Any]:
    """Read what the supervisor wrote last."""
    try:
        found: dict[str, Any] = json.loads(place.report.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def in_order(rows: Iterable[Service]) -> list[list[Service]]:
    """The servers in groups: each group needs only those before it."""
    left, groups = {row.name: row for row in rows}, []
    while left:
        group = [row for row in left.values() if not left.keys() & set(row.after)]
        groups.append(group)
        for row in group:
            del left[row.name]
    return groups


def run(place: Place) -> int:
    """Keep the servers until SIGTERM. Raises ServiceError where another supervisor does."""
    held = lock(place.lock, wait=False)
    if held is None:
        raise ServiceError("a supervisor runs already; `make status` shows what it keeps.")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    end, again = threading.Event(), threading.Event()
    again.set()

    def stop(_number: int, _frame: FrameType | None) -> None:
        end.set()

    def reload(_number: int, _frame: FrameType | None) -> None:
        again.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    signal.signal(signal.SIGHUP, reload)
    os.ftruncate(held, 0)
    os.pwrite(held, f"{os.getpid()}\n".encode(), 0)
    keepers: dict[str, Keeper] = {}
    generation = 0
    while not end.is_set():
        if again.is_set():
            again.clear()
            generation += 1
            _read(place, keepers)
        _write(place, keepers, generation)
        bound(place.logs / LOG)
        end.wait(0.5)
    _stop(keepers)
    _write(place, keepers, generation)
    return 0


def _read(place: Place, keepers: dict[str, Keeper]) -> None:
    """Give each keeper its row as the settings are now; a row that is the same stays."""
    try:
        rows = table(place, kept(place), passwords.load(place.state))
    except MongeError as error:
        log.error("%s", error)
        return
    new = [Keeper(row, place, keepers) for name, row in rows.items() if name not in keepers]
    for name, keeper in keepers.items():
        if keeper.row.fingerprint != rows[name].fingerprint:
            keeper.row = rows[name]
    keepers.update({each.row.name: each for each in new})
    for each in new:
        each.start()


def _stop(keepers: dict[str, Keeper]) -> None:
    """End the servers, those first that need others."""
    for group in reversed(in_order(each.row for each in keepers.values())):
        for row in group:
            keepers[row.name].stop()
        for row in group:
            keepers[row.name].join()


def stop_left(place: Place, rows: Iterable[Service]) -> None:
    """End the servers that a killed supervisor has left, in the same order."""
    for group in reversed(in_order(rows)):
        for row in group:
            process.end(place.state, row.name, row.stop, row.stop_s)


def _write(place: Place, keepers: dict[str, Keeper], generation: int) -> None:
    servers = {name: keeper.report() for name, keeper in keepers.items()}
    facts = {"generation": generation, "pid": os.getpid(), "servers": servers}
    text = json.dumps(facts, indent=1).encode()
    if not _same(place.report, text):
        write_whole(place.report, text)


def _same(path: Path, text: bytes) -> bool:
    try:
        return path.read_bytes() == text
    except OSError:
        return False

"""Keep one server running: start it, take over the one that runs, start it again when it dies."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any

from monge.errors import MongeError
from pipelines.stack import process
from pipelines.stack.settings import Place
from pipelines.stack.table import Service

LOG_BYTES = 8 * 2**20
"""A log that is longer becomes NAME.log.1, in the place of the one before."""

LOOK_S = 2.0
_TICK_S = 0.25
_LONGEST_S = 60.0

log = logging.getLogger(__name__)


class Keeper(threading.Thread):
    """One server and what is known of it. Its thread ends at `stop`, and the server with it."""

    def __init__(self, row: Service, place: Place, others: dict[str, Keeper]) -> None:
        super().__init__(name=row.name, daemon=True)
        self.row, self.place, self.others = row, place, others
        self.restarts, self.ready = 0, ""
        self._say(row, "waiting")
        self._end = threading.Event()
        self._delay_s = 1.0

    def run(self) -> None:
        """Keep the server until told to stop."""
        while not self._end.is_set():
            try:
                self._once(self.row)
            except (MongeError, OSError) as error:
                self._failed(str(error))
            except Exception as error:  # a fault of ours must not end the keeping
                log.exception("%s", self.row.name)
                self._failed(f"{type(error).__name__}: {error}")
        self.ready = ""
        self._say(self.row, "stopping")
        process.end(self.place.state, self.row.name, self.row.stop, self.row.stop_s)
        self._say(self.row, "stopped")

    def stop(self) -> None:
        """Have the server stopped; `join` waits for it."""
        self._end.set()

    def report(self) -> dict[str, Any]:
        """Describe the server, for the file that `status` reads.

        The fingerprint is that of the settings with which it is in this state.
        """
        running = process.known(self.place.state, self.row.name)
        state, told, fingerprint = self._said
        return {
            "state": state, "told": told, "restarts": self.restarts,
            "pid": running.pid if running else None,
            "since_s": running.since_s if running else None,
            "fingerprint": fingerprint,
        }  # fmt: skip

    def _say(self, row: Service, state: str, told: str = "") -> None:
        """Set the state in one step, as another thread reads it; `row` may be yesterday's."""
        self._said = (state, told, row.fingerprint)

    def _once(self, row: Service) -> None:
        """One life of the server, from its start or from where it is taken over."""
        running = process.known(self.place.state, row.name)
        if running is not None and running.fingerprint != row.fingerprint:
            log.info("%s is stopped, for its settings have changed", row.name)
            self.ready = ""
            self._say(row, "stopping")
            process.end(self.place.state, row.name, row.stop, row.stop_s)
            running = None
        if running is None:
            if not self._may_start(row):
                self._end.wait(_TICK_S if self._said[0] == "waiting" else LOOK_S)
                return
            running = self._start(row)
        else:
            log.info("%s runs already, process %d", row.name, running.pid)
        began_s = time.monotonic()
        self._watch(row, running)
        if self._end.is_set() or row is not self.row:
            return
        if time.monotonic() - began_s > _LONGEST_S:
            self._delay_s = 1.0
        self._failed("it ended by itself")

    def _may_start(self, row: Service) -> bool:
        """Tell whether those that it needs are up, with the settings that they are to have."""
        needed = [self.others[name] for name in row.after]
        missing = [each.row.title for each in needed if each.ready != each.row.fingerprint]
        reason = f"waits for {' and '.join(missing)}" if missing else row.waits()
        self._say(row, "idle" if reason and not missing else "waiting", reason)
        return not reason

    def _start(self, row: Service) -> process.Running:
        self._say(row, "starting")
        process.sweep(self.place.state, row.name)
        row.prepare()
        running = process.start(
            self.place.state, row.name, row.fingerprint, row.command, row.folder,
            row.whole_environment(), self._log, row.user,
        )  # fmt: skip
        log.info("%s is started, process %d", row.name, running.pid)
        return running

    def _watch(self, row: Service, running: process.Running) -> None:
        """Look until it is gone, or is to be another or none; `ready` is set once it works."""
        self._say(row, "starting")
        looked_s, provided = 0.0, False
        while running.alive and not self._end.is_set() and row is self.row:
            if time.monotonic() - looked_s > (LOOK_S if provided else _TICK_S):
                looked_s = time.monotonic()
                healthy = row.health()
                if healthy and not provided:
                    row.provide()
                    provided, self.ready = True, row.fingerprint
                self._say(row, "up" if healthy else "silent" if provided else "starting")
                bound(self._log)
            self._end.wait(_TICK_S)
        process.reap()
        if not running.alive:
            self.ready = ""

    def _failed(self, why: str) -> None:
        """Say why and wait, longer each time."""
        row, told = self.row, f"{why}; again in {self._delay_s:.0f} s"
        self.ready, self.restarts = "", self.restarts + 1
        self._say(row, "failed", told)
        log.warning("%s: %s", row.name, told)
        until_s = time.monotonic() + self._delay_s
        while time.monotonic() < until_s and not self._end.is_set() and row is self.row:
            self._end.wait(_TICK_S)
        self._delay_s = min(2.0 * self._delay_s, _LONGEST_S)

    @property
    def _log(self) -> Path:
        return self.place.logs / f"{self.row.name}.log"


def bound(path: Path) -> None:
    """Keep a log and the one before it; its writer goes on at the end of the emptied file."""
    if not path.exists() or path.stat().st_size <= LOG_BYTES:
        return
    with path.open("rb+") as file:
        file.seek(-LOG_BYTES, 2)
        path.with_name(f"{path.name}.1").write_bytes(file.read())
        file.truncate(0)

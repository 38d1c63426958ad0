"""The side thread that carries the spool to MLflow, and comes back to it when it was away."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from monge.credentials import hidden
from monge.files import storing
from monge.tracking import mlflow_store
from monge.tracking.answers import in_passing
from monge.tracking.memory import highest_steps, remember
from monge.tracking.spool import Event, Spool, abandoned

log = logging.getLogger(__name__)

LONGEST_WAIT_S = 30.0
LAST_TRIES = 3


class Sender:
    """Delivers one spool while it is written, and the spools that dead writers left."""

    def __init__(self, spool: Spool, key: str, root: Path, state: Path, interval_s: float) -> None:
        self.spool, self.key, self.root, self.state = spool, key, root, state
        self.interval_s = interval_s
        self.delivered = threading.Event()
        self.resolved = threading.Event()
        self.run_id: str | None = None
        self._closing = threading.Event()
        self._client: Any = None
        self._run_ids: dict[str, str] = {}
        self._failures = 0
        self._said_away = self._quiet = False
        self._thread = threading.Thread(target=self._work, name="monge-tracking", daemon=True)
        self._thread.start()

    def finish(self, timeout_s: float) -> bool:
        """Deliver what waits, abandoned spools too, for at most `timeout_s`; True when ours is."""
        self._closing.set()
        self._thread.join(timeout_s)
        self._quiet = True
        return self.delivered.is_set()

    def _work(self) -> None:
        while True:
            closing = self._closing.is_set()
            try:
                self._round(closing)
            except Exception as error:  # whatever it is, the training goes on and the spool stays
                self._failed(error)
                if closing and self._failures >= LAST_TRIES:
                    return
            else:
                self._succeeded()
                if closing:
                    return
            self._pause()

    def _pause(self) -> None:
        wait_s = self.interval_s
        if self._failures:
            wait_s = min(LONGEST_WAIT_S, 2.0 ** (self._failures - 1))
        if not self._closing.is_set():
            self._closing.wait(wait_s)
        elif self._failures:
            time.sleep(1.0)

    def _round(self, closing: bool) -> None:
        """Everything that waits now: ours, then what others left."""
        if self._client is None:
            self._client = mlflow_store.connect(self.root)
        if not self.delivered.is_set():
            self._deliver(self.spool)
        if closing and not self.delivered.is_set():
            self.spool.remove()
            self.delivered.set()
        for spool in abandoned(self.state):
            try:
                self._adopt(spool)
            finally:
                spool.release()

    def _adopt(self, spool: Spool) -> None:
        """Deliver an abandoned spool to its end; a run that nobody closed was killed."""
        if not spool.closed():
            spool.append({"kind": "close", "status": "KILLED"})
        self._deliver(spool)
        spool.remove()

    def _deliver(self, spool: Spool) -> None:
        while not spool.all_sent():
            events, offset = spool.unsent(mlflow_store.MOST_METRICS)
            start = spool.opening()
            key, experiment = start["key"], start["experiment"]
            run_id = self._resolve(key, experiment)
            try:
                mlflow_store.send(self._client, run_id, spool.folder, events)
            except mlflow_store.RunGoneError:
                del self._run_ids[key]
                continue
            except mlflow_store.RefusedError:
                self._one_by_one(spool, key, run_id, events)
            remember(self.state, key, highest=highest_steps(events))
            spool.mark(offset)
            for event in events:
                if event["kind"] == "file":
                    spool.drop_file(event["path"])

    def _resolve(self, key: str, experiment: str) -> str:
        if key not in self._run_ids:
            self._run_ids[key] = mlflow_store.find_or_create_run(
                self._client, self.root, self.state, key, experiment
            )
        if key == self.key:
            self.run_id = self._run_ids[key]
            self.resolved.set()
        return self._run_ids[key]

    def _one_by_one(self, spool: Spool, key: str, run_id: str, events: Iterable[Event]) -> None:
        """Send what can be sent; what MLflow refuses is kept in a file and said."""
        for event in events:
            try:
                mlflow_store.send(self._client, run_id, spool.folder, [event])
            except mlflow_store.RefusedError as refusal:
                kept = self.state / "runs" / f"{key}.refused.jsonl"
                log.warning("MLflow refused a record, kept in %s: %s", kept, hidden(str(refusal)))
                with storing(kept), kept.open("a") as file:
                    file.write(json.dumps(event) + "\n")

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        # One failure alone is a hiccup, such as a database that another process is writing to.
        if self._failures != 2 or self._said_away or self._quiet:
            return
        self._said_away = True
        why = in_passing(error, self.root)
        log.warning("Tracking: %s. Figures are kept on this disk and sent later", why)

    def _succeeded(self) -> None:
        self._failures = 0
        if self._said_away:
            self._said_away = False
            log.warning("Tracking is back: the figures kept meanwhile have been sent")

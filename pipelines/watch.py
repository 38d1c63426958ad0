"""Looks after a flow run while it works: it is asked to stop, or its time is up.

Prefect's runner or worker hears of a cancellation and ends the run's process. After the server was
away for a while it hears nothing any more, so that the run asks the server itself.
"""

from __future__ import annotations

import base64
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from prefect import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Cancelled, Failed
from pydantic import Field

from monge.errors import MongeError
from pipelines import asked, automations, brief, child, hooks, place

POLL_S = 5.0
"""Seconds between two questions to the server."""

CANCELLED = "cancelled; what was done is kept, and the next run goes on"

ALIVE = "The server had no sign of life while it was away itself; the run goes on."

Hours = Annotated[
    float | None,
    Field(
        gt=0,
        description="What the run may take. After that it saves its work and ends as failed; the "
        "next run goes on from there. Empty for as long as it takes.",
    ),
]
"""The time limit that every flow has."""


class Watch:
    """Watches a run: whether somebody cancelled it, or its time is up."""

    def __init__(self, hours: float | None, log: Callable[[str], None]) -> None:
        self.cancelled = self.late = False
        self._hours, self._log = hours, log
        self._until = None if hours is None else time.monotonic() + hours * 3600
        self._ended = threading.Event()

    @property
    def stopped(self) -> str:
        """Why the run was stopped, empty while nobody has."""
        if self.cancelled:
            return CANCELLED
        if self.late:
            return f"stopped after its {self._hours:g} hours; what was done is kept"
        return ""

    def outcome(self, state: Any) -> Any:
        """The state of a run that came to `state` by itself, or was stopped before."""
        if self.cancelled:
            hooks.cancelled_by_itself(self.stopped)
            return Cancelled(message=self.stopped)
        return Failed(message=self.stopped) if self.late else state

    def run(self, client: Any, number: str) -> None:
        """Look until the run ends. An answer that does not come is no reason to stop."""
        while not self._ended.wait(POLL_S):
            if self._until is not None and time.monotonic() > self._until:
                self.late = True
            elif client is not None:
                self.cancelled = self._asked(client, number)
            if self.stopped:
                self._log(self.stopped)
                child.stop()
                return

    def _asked(self, client: Any, number: str) -> bool:
        """Ask the server whether somebody cancelled the run.

        One that it took for dead, because it was away itself, is running: it is told so.
        """
        import httpx

        try:
            answer = client.get(f"/flow_runs/{number}")
            state = (answer.json().get("state") if answer.status_code == 200 else None) or {}
            if state.get("type") == "CRASHED" and state.get("message") == automations.MESSAGE:
                alive = {"type": "RUNNING", "message": ALIVE}
                client.post(f"/flow_runs/{number}/set_state", json={"state": alive, "force": True})
                self._log(ALIVE)
        except (httpx.HTTPError, ValueError):
            return False
        return state.get("type") in ("CANCELLING", "CANCELLED")

    def end(self) -> None:
        """Look no more."""
        self._ended.set()


@contextmanager
def watched(hours: float | None, log: Callable[[str], None]) -> Iterator[Watch]:
    """Watch the flow run that is active, from a thread. `hours` is what it may take."""
    watch, number = Watch(hours, log), str(flow_run.get_id() or "")
    client = _client() if number and os.environ.get("PREFECT_API_URL") else None
    thread = threading.Thread(target=watch.run, args=(client, number), daemon=True)
    thread.start()
    try:
        with asked.told(client):
            yield watch
    finally:
        watch.end()


def looked_after(hours: float | None, work: Callable[[], Any]) -> Any:
    """Do the work of a flow under watch, where it is to be done; the state of the flow's end.

    What was stopped may fail in its own way on its end: that it was stopped is what counts.
    """
    brief.outages()
    log, state = get_run_logger(), None
    with watched(hours, log.warning) as watch:
        try:
            with place.entered(log.info):
                state = work()
        except MongeError as error:
            state = Failed(message=str(error))
        except Exception:
            if not watch.stopped:
                raise
    return watch.outcome(state)


def _client() -> Any:
    import httpx
    from prefect.settings import PREFECT_API_URL

    return httpx.Client(base_url=PREFECT_API_URL.value() or "", timeout=POLL_S, headers=_headers())


def _headers() -> dict[str, str]:
    """Show who asks, as Prefect's own client does: a password goes before a key."""
    from prefect.settings import get_current_settings

    given = get_current_settings().api
    if given.auth_string:
        word = base64.b64encode(given.auth_string.get_secret_value().encode()).decode()
        return {"Authorization": f"Basic {word}"}
    key = given.key
    return {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}

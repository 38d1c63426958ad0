"""Tells somebody's program how a run ended: a signed webhook by MONGE_WEBHOOK_URL.

A POST of JSON: `event` (failure, crash, cancellation, promotion, new-data), `project`, `flow`,
`run`, `run_id`, `deployment`, `message`, `time`. With MONGE_WEBHOOK_SECRET its header
`X-Monge-Signature` is `sha256=` and the HMAC-SHA256, in hexadecimal, of the header
`X-Monge-Timestamp`, a dot, and the body as it was sent. A receiver that does not answer in time, or
at all, changes nothing for the run.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from prefect.runtime import deployment
from prefect.runtime import flow_run as running

from monge.errors import MongeError
from pipelines.project import owner

ADDRESS, SECRET = "MONGE_WEBHOOK_URL", "MONGE_WEBHOOK_SECRET"
WITHIN_S = 10.0

log = logging.getLogger("prefect.monge.hooks")


def failed(flow: Any, flow_run: Any, state: Any) -> None:
    """Tell that a run failed; called by Prefect."""
    _tell_end("failure", flow, flow_run, state)


def crashed(flow: Any, flow_run: Any, state: Any) -> None:
    """Tell that a run's process died; called by Prefect's runner or worker."""
    _tell_end("crash", flow, flow_run, state)


def cancelled(flow: Any, flow_run: Any, state: Any) -> None:
    """Tell that somebody cancelled a run; called by Prefect."""
    _tell_end("cancellation", flow, flow_run, state)


ENDS: dict[str, Any] = {
    "on_failure": [failed],
    "on_crashed": [crashed],
    "on_cancellation": [cancelled],
}
"""The hooks with which a flow tells how its runs end."""


def cancelled_by_itself(message: str) -> None:
    """Tell the same of a run that found out itself; called from within it."""
    tell("cancellation", _running() | {"message": message})


def promoted(facts: Mapping[str, Any]) -> None:
    """Tell that a run made a new champion, if it did; called from within it."""
    if facts.get("promoted"):
        champion = {"champion": facts["champion"], "model_hash": facts["model_hash"]}
        tell("promotion", _running() | {"message": facts["sentence"]} | champion)


def decided(sentence: str, train: bool, figures: Mapping[str, Any]) -> None:
    """Tell of a look for new images: what was decided, and by which figures."""
    more = {"message": sentence, "train": train, "figures": dict(figures)}
    tell("new-data", _running() | more)


def tell(event: str, facts: Mapping[str, Any]) -> bool:
    """Send an event to the receiver, if one is set; whether it took it. Never raises."""
    address = os.environ.get(ADDRESS)
    if not address:
        return False
    now = datetime.now(UTC).isoformat(timespec="seconds")
    content = {"event": event, "project": _project(), **facts, "time": now}
    said: list[str] = []
    # A receiver that sends a byte now and then keeps a connection for ever: the thread is left.
    thread = threading.Thread(target=_post, args=(address, content, said), daemon=True)
    thread.start()
    thread.join(WITHIN_S)
    if said == [""]:
        return True
    reason = said[0] if said else f"no answer in {WITHIN_S:g} s"
    # Not the address: it may have a password or a key in it.
    where = urlsplit(address).hostname
    log.warning("the webhook about this %s was not taken by %s: %s", event, where, reason)
    return False


def _post(address: str, content: Mapping[str, Any], said: list[str]) -> None:
    """Post the content; into `said` goes what went wrong, empty for nothing."""
    try:
        body = json.dumps(content, ensure_ascii=False).encode("utf-8")
        answer = httpx.post(address, content=body, headers=_headers(body), timeout=WITHIN_S)
        said.append("" if answer.is_success else f"HTTP {answer.status_code}")
    except Exception as error:
        said.append(type(error).__name__)


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Sign a body, as the header X-Monge-Signature must be."""
    signed = timestamp.encode("ascii") + b"." + body
    return "sha256=" + hmac.new(secret.encode("utf-8"), signed, hashlib.sha256).hexdigest()


def _headers(body: bytes) -> dict[str, str]:
    stamp, secret = str(int(time.time())), os.environ.get(SECRET)
    signed = {"X-Monge-Signature": signature(secret, stamp, body)} if secret else {}
    return {"Content-Type": "application/json", "X-Monge-Timestamp": stamp, **signed}


def _tell_end(event: str, flow: Any, flow_run: Any, state: Any) -> None:
    facts = {
        "flow": flow.name,
        "run": flow_run.name,
        "run_id": str(flow_run.id),
        "deployment": str(flow_run.deployment_id or ""),
        "message": state.message or state.name,
    }
    tell(event, facts)


def _running() -> dict[str, Any]:
    return {
        "flow": running.get_flow_name() or "",
        "run": running.get_name() or "",
        "run_id": str(running.get_id() or ""),
        "deployment": str(deployment.get_id() or ""),
    }


def _project() -> str:
    try:
        return owner(Path.cwd()).project
    except (MongeError, OSError):
        return ""

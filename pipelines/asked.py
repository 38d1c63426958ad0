"""Tells the processes of a run which run of Prefect asks for them: MLflow's run has it as tags.

So from MLflow's page one finds who asked for a training, as one finds MLflow's from Prefect's page.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect.context import FlowRunContext

from monge.tracking.environment import FLOW_RUN

NOBODY = "not told"
"""The asker of a run that somebody began by hand: Prefect's own server does not know people."""


@contextmanager
def told(client: Any) -> Iterator[None]:
    """Have every process that is started meanwhile know the flow run that is active."""
    before, facts = os.environ.get(FLOW_RUN), _facts(client)
    if not facts:
        yield
        return
    # A flow within a flow was asked for by whoever asked for that one.
    os.environ[FLOW_RUN] = json.dumps(facts | _askers(before))
    try:
        yield
    finally:
        if before is None:
            del os.environ[FLOW_RUN]
        else:
            os.environ[FLOW_RUN] = before


def _facts(client: Any) -> dict[str, str]:
    context = FlowRunContext.get()
    run = None if context is None else context.flow_run
    if context is None or run is None:
        return {}
    creator = run.created_by
    words = (creator.type, creator.display_value) if creator else ()
    return {
        "prefect.flow": context.flow.name if context.flow else "",
        "prefect.flow_run": run.name,
        "prefect.flow_run_id": str(run.id),
        "prefect.deployment": _deployment(client, run.deployment_id) or "none",
        "prefect.created_by": " ".join(word for word in words if word) or NOBODY,
    }


def _askers(before: str | None) -> dict[str, str]:
    outer = json.loads(before) if before else {}
    return {name: outer[name] for name in ("prefect.deployment", "prefect.created_by") if outer}


def _deployment(client: Any, number: Any) -> str:
    """The name of a deployment; its number where the server does not answer with one."""
    import httpx

    if number is None or client is None:
        return ""
    try:
        return str(client.get(f"/deployments/{number}").json()["name"])
    except (httpx.HTTPError, ValueError, KeyError):
        return str(number)

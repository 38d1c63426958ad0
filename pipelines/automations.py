"""Lets the server act on our runs by itself: one that gives no sign of life has crashed."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pipelines import RUNS
from pipelines.project import Owner

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

SILENT = "MONGE_SILENT_S"
"""The environment variable with the seconds without a sign of life after which a run is dead."""

_BEATS = 3
MESSAGE = (
    "No sign of life: the machine, the worker or the run's process is gone. The next run goes on "
    "from the newest checkpoint."
)


def register(client: SyncPrefectClient, whose: Owner) -> str:
    """Have runs of this project that fall silent marked as crashed; in words what was done."""
    wanted = silent(whose)
    there = [each for each in client.read_automations_by_name(wanted.name) if each is not None]
    for surplus in there[1:]:
        client.delete_automation(surplus.id)
    if not there:
        client.create_automation(wanted)
        return f"automation {wanted.name}: made"
    if _plain(there[0]) == _plain(wanted):
        return f"automation {wanted.name}: unchanged"
    client.update_automation(there[0].id, wanted)
    return f"automation {wanted.name}: changed"


def require(whose: Owner) -> str:
    """Have silent runs marked where nobody sees to it yet; in words what went wrong, if anything.

    One question, and never a reason for a run not to begin. Where there is an automation it stays
    as `deploy` made it.
    """
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectException

    try:
        with get_client(sync_client=True) as client:
            if not client.read_automations_by_name(_name(whose)):
                client.create_automation(silent(whose))
    except (httpx.HTTPError, PrefectException) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        return f"should its machine go, the server will not mark the run as crashed ({reason})"
    return ""


def _name(whose: Owner) -> str:
    return f"monge {whose.project}: silent runs have crashed"


def silent(whose: Owner) -> Any:
    """The automation: heartbeats of a run that began and neither went on nor ended."""
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

    within_s = float(
        os.environ.get(SILENT) or _BEATS * float(RUNS["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])
    )
    heartbeat = "prefect.flow-run.heartbeat"
    ends = ("Completed", "Failed", "Cancelled", "Crashed", "Paused", "Suspended")
    return AutomationCore(
        name=_name(whose),
        description="Made by monge; `python -m pipelines deploy` brings it up to date.",
        enabled=True,
        trigger=EventTrigger(
            after={heartbeat},
            expect={heartbeat, *(f"prefect.flow-run.{end}" for end in ends)},
            match={"prefect.resource.id": ["prefect.flow-run.*"]},
            match_related={
                "prefect.resource.id": f"prefect.tag.project:{whose.project}",
                "prefect.resource.role": "tag",
            },
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=within_s),
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message=MESSAGE)],
    )


def _plain(automation: Any) -> dict[str, Any]:
    """Reduce an automation to what decides what it does, as plain values."""
    kept = {"name", "enabled", "trigger", "actions"}
    found: dict[str, Any] = automation.model_dump(mode="json", include=kept)
    trigger = found["trigger"]
    trigger.pop("id", None)
    for name in ("after", "expect", "for_each"):
        trigger[name] = sorted(trigger[name])
    return found

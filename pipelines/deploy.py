"""Give a Prefect server the table of deployments: `python -m pipelines deploy`.

Runs then happen wherever a worker of the pool is (`prefect worker start --pool monge`). The code
comes from this folder, or with --git from a repository that the worker clones for each run.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from monge import products
from monge.credentials import bare, hidden
from monge.errors import InputError, MongeError, ServiceError
from pipelines import RUNS, place, timetable
from pipelines.deployments import LOCAL_API, TABLE, Row
from pipelines.project import PROJECT, Owner, owner
from pipelines.server import answers
from pipelines.timetable import When

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

POOL = "monge"
QUEUE = "training"
"""The queue of a pool whose limit is how many trainings run at once: one for each device."""


@dataclass(frozen=True)
class Code:
    """The place where a worker finds the code, and that of what must outlive its folder."""

    folder: Path
    git: str = ""
    branch: str = ""
    state: str = ""

    def pull(self) -> list[dict[str, Any]]:
        """The step that a worker takes before a run."""
        if not self.git:
            step = "prefect.deployments.steps.set_working_directory"
            return [{step: {"directory": str(self.folder)}}]
        branch = {"branch": self.branch} if self.branch else {}
        return [{"prefect.deployments.steps.git_clone": {"repository": self.git, **branch}}]


def main(arguments: Sequence[str]) -> int:
    """Register every row and remove what was taken out of the table; says what it changed."""
    parser = argparse.ArgumentParser(prog="python -m pipelines deploy", description=__doc__)
    parser.add_argument("--pool", default=POOL, help="the work pool, made if missing (%(default)s)")
    parser.add_argument("--product", default="", metavar="NAME", help="that of products/NAME")
    parser.add_argument("--git", default="", metavar="ADDRESS", help="clone this for each run")
    parser.add_argument("--branch", default="", help="of --git")
    parser.add_argument(
        "--state", default="", metavar="FOLDER", help="on the worker's machine: keeps checkpoints, "
        "cache, figures and reports of runs whose clone goes (~/.local/state/monge/PROJECT)",
    )  # fmt: skip
    parser.add_argument("--trainings", type=int, default=1, help="at once, on the pool: one a GPU")
    parser.add_argument("--timezone", default="", metavar="ZONE", help="else this machine's")
    chosen = parser.parse_args(arguments)
    api = os.environ.setdefault("PREFECT_API_URL", LOCAL_API)
    try:
        if chosen.trainings < 1:
            raise InputError(f"--trainings: must be at least 1, got {chosen.trainings}.")
        if bare(chosen.git) != chosen.git:
            raise InputError(
                f"--git {chosen.git}: the server would keep the password and show it. Leave it "
                "out, and give it to the worker's own git (a credential helper, or an SSH key)."
            )
        if chosen.product:
            products.existing(Path.cwd(), chosen.product)
        whose = owner(Path.cwd(), chosen.product, chosen.git)
        zone = timetable.time_zone(chosen.timezone)
        if not answers(api):
            raise ServiceError(f"no Prefect server at {api}. Start it, or set PREFECT_API_URL.")
        state = chosen.state or (f"~/.local/state/monge/{whose.project}" if chosen.git else "")
        code = Code(products.home(Path.cwd()), chosen.git, chosen.branch, state)
        _deploy(whose, code, chosen.pool, chosen.trainings, zone, print)
    except MongeError as error:
        print(f"deploy: {error}", file=sys.stderr)
        return error.exit_code
    told = f"prefect worker start --pool {chosen.pool}   (PREFECT_API_URL={hidden(api)})"
    print(f"start a worker: {told}")
    return 0


def _deploy(
    whose: Owner, code: Code, pool: str, trainings: int, zone: str, say: Callable[[str], None]
) -> None:
    from prefect.client.orchestration import get_client

    from pipelines import automations

    with get_client(sync_client=True) as client:
        there = _known(client, whose)
        for row in TABLE:
            whose.require(*_named(client, row, whose))
        _require_pool(client, pool, trainings, say)
        for row in TABLE:
            when = timetable.by_cron(row.cron, zone) if row.cron else None
            name = whose.deployment(row.name)
            old = there.pop(name, None)
            changed = _register(client, row, when, whose, code, pool, old)
            say(f"{_flow(row)}/{name}: {changed}" + (f"; {when.told()}" if when else ""))
        for name, gone in there.items():
            client.delete_deployment(gone.id)
            say(f"{name}: removed, it is not in the table any more")
        say(automations.register(client, whose))


def _named(client: SyncPrefectClient, row: Row, whose: Owner) -> tuple[str, list[str]]:
    """A row's name on the server and the tags that it has there; our own where it is free."""
    from prefect.exceptions import ObjectNotFound

    name = f"{_flow(row)}/{whose.deployment(row.name)}"
    try:
        return name, list(client.read_deployment_by_name(name).tags)
    except ObjectNotFound:
        return name, whose.tags


def _known(client: SyncPrefectClient, whose: Owner) -> dict[str, DeploymentResponse]:
    """Read what this owner has on the server, save the schedule that `make schedule` serves."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags

    wanted = DeploymentFilter(tags=DeploymentFilterTags(all_=[f"project:{whose.project}"]))
    found = client.read_deployments(deployment_filter=wanted)
    return {each.name: each for each in found if each.work_pool_name and whose.owns(each.tags)}


def _require_pool(
    client: SyncPrefectClient, pool: str, trainings: int, say: Callable[[str], None]
) -> None:
    """Make the pool and its queue of trainings, or set that queue's limit."""
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.process import ProcessWorker

    try:
        kind = client.read_work_pool(pool).type
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(
            WorkPoolCreate(name=pool, type="process", base_job_template=template)
        )
        say(f"work pool {pool}: made")
    else:
        if kind not in ("process", "kubernetes"):
            raise InputError(
                f"--pool: {pool} is of type {kind}; name one of type process or kubernetes."
            )
    at = {"work_pool_name": pool}
    wanted = {"work_queues": {"name": {"any_": [QUEUE]}}}
    found = client.request(
        "POST", "/work_pools/{work_pool_name}/queues/filter", path_params=at, json=wanted
    ).json()
    if not found:
        body = {"name": QUEUE, "concurrency_limit": trainings}
        client.request("POST", "/work_pools/{work_pool_name}/queues", path_params=at, json=body)
    elif found[0]["concurrency_limit"] != trainings:
        limit, at = {"concurrency_limit": trainings}, {**at, "name": QUEUE}
        client.request(
            "PATCH", "/work_pools/{work_pool_name}/queues/{name}", path_params=at, json=limit
        )
        say(f"queue {pool}/{QUEUE}: {trainings} at once")


def _register(
    client: SyncPrefectClient, row: Row, when: When | None, whose: Owner, code: Code, pool: str,
    old: DeploymentResponse | None,
) -> str:  # fmt: skip
    """Make or replace one deployment; in words what is other than it was.

    Who paused it, on the page or by command, finds it paused.
    """
    from prefect.client.schemas.actions import DeploymentScheduleCreate

    wanted: dict[str, Any] = {
        "schedules": [DeploymentScheduleCreate.from_schedule(when.schedule())] if when else [],
        "parameters": dict(row.parameters),
        "description": row.description,
        "tags": [*whose.tags, *row.tags],
        "entrypoint": row.flow,
        "pull_steps": code.pull(),
        "work_pool_name": pool,
        "work_queue_name": QUEUE if row.trains else "default",
        "job_variables": {"env": _environment(whose, code)},
        "parameter_openapi_schema": form(_loaded(row)),
        "enforce_parameter_schema": True,
    }
    changed = ["made"] if old is None else _differences(old, wanted)
    if old is not None:
        if not changed:
            return "unchanged" + (", paused" if old.paused else "")
        wanted["paused"] = old.paused
    client.create_deployment(
        flow_id=client.create_flow_from_name(_flow(row)), name=whose.deployment(row.name), **wanted
    )
    return ", ".join(changed) + (", paused" if old is not None and old.paused else "")


def _differences(old: DeploymentResponse, wanted: Mapping[str, Any]) -> list[str]:
    """List what of a deployment is other than it is to be."""
    changed = []
    for name, value in wanted.items():
        there: Any = getattr(old, name)
        if name == "schedules":
            before, after = (", ".join(map(_plan, each)) or "none" for each in (there, value))
            changed += [f"schedule {before} -> {after}"] if before != after else []
        elif set(there) != set(value) if name == "tags" else there != value:
            changed.append(name.replace("_", " "))
    return changed


def _plan(each: Any) -> str:
    """A schedule in words, and whether somebody switched it off."""
    schedule = each.schedule
    what = getattr(schedule, "cron", None) or f"every {getattr(schedule, 'interval', '?')}"
    return f"{what} ({schedule.timezone})" + ("" if each.active else " switched off")


def _environment(whose: Owner, code: Code) -> dict[str, str]:
    """Set the environment of a worker's runs; secrets stay in the worker's own."""
    given = {PROJECT: whose.project, place.PRODUCT: whose.product, place.STATE: code.state}
    return RUNS | {name: value for name, value in given.items() if value}


def form(flow: Any) -> dict[str, Any]:
    """The schema of a flow's parameters, of which Prefect's page makes a form.

    Descriptions are those of its docstring's Args, or of the annotations.
    """
    from prefect.utilities.callables import parameter_schema

    found = parameter_schema(flow).model_dump(exclude_unset=True)
    for name, hint in get_type_hints(flow.fn, include_extras=True).items():
        for told in getattr(hint, "__metadata__", ()):
            described = getattr(told, "description", None)
            if described and name in found["properties"]:
                found["properties"][name].setdefault("description", described)
    return found


def _flow(row: Row) -> str:
    return str(_loaded(row).name)


def _loaded(row: Row) -> Any:
    """The flow of a row, whose signature makes the form on Prefect's page."""
    file, _, name = row.flow.partition(":")
    return getattr(importlib.import_module(file.removesuffix(".py").replace("/", ".")), name)

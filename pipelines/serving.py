"""The schedule of one machine: a runner that stays, also while its server is away."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.runner import Runner

from pipelines import automations, brief
from pipelines.project import Owner
from pipelines.retrain import retrain
from pipelines.server import works

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.deployments.runner import RunnerDeployment

    from pipelines.timetable import When

AGAIN_S = 3.0
"""Seconds between two looks for a server that is away."""


class _Stays(Runner):
    """A runner that SIGTERM and SIGINT end in order; Prefect's own handler leaves a coroutine."""

    asked = False

    def handle_sigterm(self, *_arguments: Any, **_more: Any) -> None:
        """Stop what runs, and end."""
        self.asked = True
        if self._loop is not None and self.started:
            self._loop.call_soon_threadsafe(lambda: asyncio.ensure_future(self.astop()))


def serve(whose: Owner, when: When, name: str, tags: Sequence[str], description: str) -> int:
    """Run `retrain` when it is due, until stopped. Raises InputError when the name is taken."""
    brief.outages()
    name = whose.deployment(name)
    deployment = partial(
        retrain.ato_deployment, name, schedule=when.schedule(), paused=False,
        tags=[*whose.tags, *tags], description=description,
    )  # fmt: skip
    told = f"retrain/{name}: {when}; {when.told()}"
    with tempfile.TemporaryDirectory(prefix="monge-schedule-") as folder:
        # For this process alone: in the machine's temporary folder, Prefect's `runner_storage`
        # belongs to the first user who had a schedule or a worker.
        tempfile.tempdir = folder
        return asyncio.run(_serve(whose, name, deployment, told))


async def _serve(
    whose: Owner, name: str, made: Callable[[], Awaitable[RunnerDeployment]], told: str
) -> int:
    async with get_client() as client:
        try:
            there = await client.read_deployment_by_name(f"retrain/{name}")
        except ObjectNotFound:
            pass
        else:
            whose.require(f"retrain/{name}", there.tags)
    deployment = await made()
    while True:
        runner = _Stays(name=name, pause_on_shutdown=False, limit=1)
        signal.signal(signal.SIGINT, runner.handle_sigterm)
        signal.signal(signal.SIGTERM, runner.handle_sigterm)
        try:
            number = await runner.aadd_deployment(deployment)
            if warning := await asyncio.to_thread(automations.require, whose):
                print(f"schedule: {warning}", file=sys.stderr)
            print(told, flush=True)
            await runner.start()
        except Exception as error:
            if not runner.asked:
                await _wait(error)
                continue
        if runner.asked:
            await _unschedule(number)
            return 0


async def _wait(error: Exception) -> None:
    """Wait until the server answers again, and has its database."""
    reason = (str(error) or type(error).__name__).splitlines()[0]
    print(f"schedule: the Prefect server is away ({reason}); waiting for it", file=sys.stderr)
    api = os.environ["PREFECT_API_URL"]
    while not await asyncio.to_thread(works, api):
        await asyncio.sleep(AGAIN_S)
    print("schedule: the Prefect server is back", file=sys.stderr, flush=True)


async def _unschedule(number: UUID) -> None:
    """Take the schedule from the server: nobody is here to run what it would plan."""
    try:
        async with get_client() as client:
            for each in await client.read_deployment_schedules(number):
                await client.delete_deployment_schedule(number, each.id)
    except Exception:
        print("schedule: stopped; the server did not hear of it", file=sys.stderr)
    else:
        print(f"schedule: stopped, in {Path.cwd()}; the server plans no more runs")

"""The application as Ray Serve runs it: several times over, counted by how many requests wait.

A replica is a process with the very application of `monge serve`. Ray brings one back that died,
and starts more of them while requests pile up.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Metric

from monge.credentials import Formatter
from monge.errors import InputError
from monge.server.app import build
from monge.server.middleware.access import Access
from monge.server.middleware.admission import Admission
from monge.server.models import open_model, warm_up
from monge.server.run import DRAIN_S, followed
from monge.server.service import Limits, Service

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "Monge-Replica"
"""Says which replica answered, as Ray names it."""


@dataclass(frozen=True, kw_only=True)
class Replicas:
    """The number of replicas, and the share of the machine that each of them has.

    Between `least` and `most`, so many that each has about `requests` in progress. `gpus` may be a
    part of one; `threads` are its cores.
    """

    least: int = 2
    most: int | None = None
    requests: int = 32
    gpus: float = 0.0
    threads: int = 1

    def __post_init__(self) -> None:
        if self.most is not None and self.most < self.least:
            raise InputError(
                f"--max-replicas {self.most} is less than --replicas {self.least}: "
                "give as many or more."
            )


@dataclass(frozen=True, kw_only=True)
class ReplicaSettings:
    """The part of the settings that each replica is told, as it travels to its process."""

    model: str
    provider: str
    threads: int
    limits: Limits
    poll_s: float
    admission: Admission
    batches: Sequence[int] | None = None
    marks: bool = True


def options(wanted: Replicas, limits: Limits, environment: dict[str, str]) -> dict[str, Any]:
    """Say it in Ray Serve's words.

    A waiting request holds one image or more. So a replica refuses one, with our own 429, before
    Ray's bound on its requests is reached; Ray's own queue fills only while no replica is there.
    """
    actor: dict[str, Any] = {"num_cpus": wanted.threads, "num_gpus": wanted.gpus}
    if environment:
        actor["runtime_env"] = {"env_vars": environment}
    count: dict[str, Any] = {"num_replicas": wanted.least}
    if wanted.most is not None:
        count = {
            "autoscaling_config": {
                "min_replicas": wanted.least,
                "max_replicas": wanted.most,
                "target_ongoing_requests": wanted.requests,
                "look_back_period_s": 15.0,
                "upscale_delay_s": 5.0,
                "downscale_delay_s": 120.0,
            }
        }
    return {
        **count,
        "max_ongoing_requests": limits.queue_images + 64,
        "max_queued_requests": limits.queue_images,
        "backpressure_config": {"status_code": 429, "retry_after_s": 1.0},
        "graceful_shutdown_timeout_s": float(DRAIN_S),
        "graceful_shutdown_wait_loop_s": 0.1,
        "health_check_period_s": 2.0,
        "health_check_timeout_s": 30.0,
        "max_constructor_retry_count": 3,
        "ray_actor_options": actor,
    }


class Replica:
    """One copy of the service, in a process that Ray started. It is used by Ray Serve only."""

    def __init__(self, settings: ReplicaSettings) -> None:
        from ray import serve

        _speak()
        self.settings = settings
        self.name = serve.get_replica_context().replica_tag
        self.model = open_model(
            settings.model,
            settings.provider,
            settings.threads,
            settings.batches,
            settings.marks,
        )
        warm_up(self.model)  # here, so that what is wrong with it is Ray's to report
        self.service: Service

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Build what answers: the application behind the same layer as ever."""
        said = self.settings
        app = build(
            self.model, said.limits,
            follow=followed(said.model), poll_s=said.poll_s, threads=said.threads,
            batches=said.batches, marks=said.marks,
        )  # fmt: skip
        self.service = app.state.service
        measures = self.service.measures
        measures.registry = LabelledRegistry(measures.registry, replica=self.name)
        return ReplicaHeader(Access(app, said.admission), self.name)

    async def check_health(self) -> None:
        """Wait until it answers; Ray sends nothing before, and ends it if that takes too long."""
        while not self.service.ready:
            await asyncio.sleep(0.02)


class ReplicaHeader:
    """An ASGI layer: says which replica answered, in messages that can go to Ray's proxy."""

    def __init__(self, app: ASGIApp, name: str) -> None:
        self.app, self._header = app, (HEADER.lower().encode(), name.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], self._header]}
            elif isinstance(message.get("body"), memoryview):  # which cannot be pickled
                message = {**message, "body": bytes(message["body"])}
            await send(message)

        await self.app(scope, receive, sending)


class LabelledRegistry(CollectorRegistry):
    """Another registry's figures, each with a label more.

    A scrape reaches one replica or another: by their label their counters stay apart.
    """

    def __init__(self, registry: CollectorRegistry, **labels: str) -> None:
        super().__init__()
        self._inner, self._more = registry, labels

    def collect(self) -> Iterable[Metric]:
        """Collect the other's figures."""
        for metric in self._inner.collect():
            metric.samples = [
                sample._replace(labels={**sample.labels, **self._more}) for sample in metric.samples
            ]
            yield metric


def application(wanted: Replicas, settings: ReplicaSettings, environment: dict[str, str]) -> Any:
    """Build the Ray Serve application: what `serve.run` takes."""
    from ray import serve

    settings = dataclasses.replace(settings, threads=wanted.threads)
    deployment = serve.deployment(
        serve.ingress()(Replica), name="generator", **options(wanted, settings.limits, environment)
    )
    return deployment.bind(settings)


def _speak() -> None:
    """Log to standard error as the command does; Ray puts in front whose words they are."""
    ours = logging.getLogger("monge")
    ours.handlers = [logging.StreamHandler(sys.stderr)]
    ours.handlers[0].setFormatter(Formatter("%(message)s"))
    ours.setLevel(logging.INFO)
    ours.propagate = False

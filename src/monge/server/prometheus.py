"""The service's figures for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monge.server.problems import ClientGone

_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Measures:
    """The figures of one service, in a registry of their own."""

    def __init__(self, waiting: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        own = self.registry
        self.answers = Counter(
            "monge_requests", "Requests answered.", ["route", "status"], registry=own
        )
        self.latency = Histogram(
            "monge_request_seconds",
            "From request to answer.",
            ["route"],
            buckets=_SECONDS,
            registry=own,
        )
        self.images = Counter("monge_images", "Images drawn.", registry=own)
        self.batch = Histogram(
            "monge_batch_images", "Images a batch.", buckets=_BATCHES, registry=own
        )
        self.drawing = Histogram(
            "monge_batch_seconds", "Service a batch.", buckets=_SECONDS, registry=own
        )
        self.model = Gauge(
            "monge_model", "1 for the model that answers.",
            ["name", "version", "sha256", "provider"], registry=own,
        )  # fmt: skip
        self.switches = Counter("monge_model_switches", "New champions taken.", registry=own)
        self.refusals = Counter("monge_model_refusals", "New champions refused.", registry=own)
        self.unreachable = Counter(
            "monge_registry_failures", "Times the registry did not answer.", registry=own
        )
        self._of: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        Gauge("monge_queue_images", "Images that wait.", registry=own).set_function(waiting)

    def answered(self, route: str, status: str, seconds: float) -> None:
        """Note one answer."""
        known = self._of.get((route, status))
        if known is None:
            known = self.answers.labels(route, status), self.latency.labels(route)
            self._of[route, status] = known
        known[0].inc()
        known[1].observe(seconds)

    def drew(self, images: int, seconds: float) -> None:
        """Note one batch."""
        self.images.inc(images)
        self.batch.observe(images)
        self.drawing.observe(seconds)

    def answers_now(self, name: str, version: str, sha256: str, provider: str) -> None:
        """Note which model answers."""
        self.model.clear()
        self.model.labels(name, version, sha256, provider).set(1)

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)


class Measured:
    """An ASGI layer: counts and times each answer, by its route."""

    def __init__(self, app: ASGIApp, measures: Measures) -> None:
        self.app, self.measures = app, measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began_s, status = time.perf_counter(), "499"  # what stays when the client goes away

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self.app(scope, receive, sending)
        except (ClientGone, ClientDisconnect):
            pass
        finally:
            route = getattr(scope.get("route"), "path", None) or "other"
            self.measures.answered(route, status, time.perf_counter() - began_s)

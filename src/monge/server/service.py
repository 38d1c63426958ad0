"""From a request to its images: the current model, the shared batch, the deadline, the client."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request

from monge.errors import InputError, NotReady
from monge.server.batching.batcher import Batcher
from monge.server.batching.inputs import Rows
from monge.server.models import Model, Models
from monge.server.problems import ClientGone
from monge.server.prometheus import Measures
from monge.serving.sampler import Images

Result = TypeVar("Result")

_AT_ONCE_S = 0.05
_FEW_VALUES = 4096


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The most that one request may take."""

    images: int = 1024
    result_bytes: int = 64 << 20
    timeout_s: float = 30.0
    queue_images: int = 4096
    body_bytes: int = 8 << 20


class Service:
    """Everything that the routes need: the model, the batcher, and the limits."""

    def __init__(self, models: Models, limits: Limits) -> None:
        self.models, self.limits = models, limits
        self.ready = False
        self.unready = "warming up or shutting down; ask again in a second."
        self.failed: Callable[[Exception], None] = lambda error: None  # when it never will be ready
        self.batcher: Batcher  # made where the event loop runs
        self.measures = Measures(lambda: self.batcher.waiting if self.ready else 0)

    def model(self) -> Model:
        """The model that answers a request that comes now. Raises NotReady."""
        if not self.ready:
            raise NotReady(self.unready)
        return self.models.current

    def check(self, model: Model, n: int) -> None:
        """Raises InputError for more images than one request may ask for."""
        size = n * math.prod(model.sampler.contract.image_shape)
        if n > self.limits.images or size > self.limits.result_bytes:
            raise InputError(
                f"{n} images ({size} bytes of pixels) are more than one request may ask for: "
                f"{self.limits.images} images and {self.limits.result_bytes} bytes. "
                "Ask in parts; `first` continues a seed."
            )

    async def draw(self, request: Request, model: Model, rows: Rows) -> Images:
        """Images of rows. Raises QueueFull, Late, ClientGone."""
        return await while_asked(request, self.batcher.draw(model, rows, self.limits.timeout_s))


async def while_asked(request: Request, work: asyncio.Future[Result]) -> Result:
    """Wait for the work, and cancel it when the client goes away. Raises ClientGone then."""
    watching: list[asyncio.Task[None]] = []
    # What is done at once needs nobody to watch the client.
    later = asyncio.get_running_loop().call_later(
        _AT_ONCE_S, lambda: watching.append(asyncio.create_task(_watch(request, work)))
    )
    try:
        return await work
    finally:
        later.cancel()
        for watch in watching:
            watch.cancel()


async def _watch(request: Request, work: asyncio.Future[Result]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    if not work.done():
        work.set_exception(ClientGone())


async def computed(values: int, work: Callable[[], Result]) -> Result:
    """Work on so many values: in a thread, unless handing it over would take longer than doing it.

    Compressing pictures and drawing latents must not hold up the event loop.
    """
    return work() if values <= _FEW_VALUES else await asyncio.to_thread(work)

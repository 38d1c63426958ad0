"""From a request to its images: the current model, the shared batch, the deadline, the client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from fastapi import Request

from monge.errors import InputError, NotReady
from monge.server.batcher import Batcher, Images, Latents
from monge.server.measures import Measures
from monge.server.models import Model, Models
from monge.server.problems import ClientGone

Result = TypeVar("Result")

_AT_ONCE_S = 0.05
_FEW_VALUES = 4096


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one request may take."""

    images: int = 1024
    result_bytes: int = 64 << 20
    timeout_s: float = 30.0
    queue_images: int = 4096
    body_bytes: int = 8 << 20


class Drawing:
    """What the routes need: the model, the batcher, and the limits."""

    def __init__(self, models: Models, limits: Limits) -> None:
        self.models, self.limits = models, limits
        self.ready = False
        self.batcher: Batcher  # made where the event loop runs
        self.measures = Measures(lambda: self.batcher.waiting if self.ready else 0)

    def model(self) -> Model:
        """The model that answers a request that comes now. Raises NotReady."""
        if not self.ready:
            raise NotReady("warming up or shutting down; ask again in a second.")
        return self.models.current

    def check(self, model: Model, n: int) -> None:
        """Raises InputError for more images than one request may ask for."""
        size = n * int(np.prod(model.sampler.contract.image_shape))
        if n > self.limits.images or size > self.limits.result_bytes:
            raise InputError(
                f"{n} images ({size} bytes of pixels) are more than one request may ask for: "
                f"{self.limits.images} images and {self.limits.result_bytes} bytes. "
                "Ask in parts; `first` continues a seed."
            )

    async def draw(self, request: Request, model: Model, latents: Latents) -> Images:
        """Images of latents [n, latent_dim]. Raises InputError, QueueFull, Late, ClientGone."""
        checked = model.sampler.checked(latents)  # here, so that nobody else's batch is spoilt
        work = self.batcher.draw(model.sampler, checked, self.limits.timeout_s)
        return await while_asked(request, work)


async def while_asked(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Do the work, and cancel it when the client goes away. Raises ClientGone then."""
    doing = asyncio.create_task(work)
    try:
        # What is done at once needs nobody to watch the client.
        await asyncio.wait((doing,), timeout=_AT_ONCE_S)
        if not doing.done():
            gone = asyncio.create_task(_gone(request))
            try:
                await asyncio.wait((doing, gone), return_when=asyncio.FIRST_COMPLETED)
            finally:
                gone.cancel()
        if not doing.done():
            raise ClientGone
        return doing.result()
    finally:
        doing.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def computed(values: int, work: Callable[[], Result]) -> Result:
    """Work on so many values: in a thread, unless handing it over would take longer than doing it.

    Compressing pictures and drawing latents must not hold up the event loop.
    """
    return work() if values <= _FEW_VALUES else await asyncio.to_thread(work)

"""Requests that wait together are drawn together; each gets its own images.

There is no waiting window: while one batch is drawn the next one gathers, so that a lone request
starts at once and many clients fill the batches by themselves. A request larger than a batch gives
way to the others after each of its parts.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from monge.errors import Late, QueueFull

Latents = NDArray[np.float32]
Images = NDArray[np.uint8]


class Draws(Protocol):
    """What draws: a sampler, in batches of the size that it likes."""

    @property
    def batch_size(self) -> int: ...

    def run(self, batch: Latents) -> Images: ...


@dataclass(eq=False)
class _Job:
    """One request's latents [n, dim], and how many of its images are drawn."""

    model: Draws
    latents: Latents
    deadline_s: float
    future: asyncio.Future[Images]
    images: list[Images] = field(default_factory=list)
    drawn: int = 0

    @property
    def left(self) -> int:
        return len(self.latents) - self.drawn


class Batcher:
    """Gathers requests into batches and draws them one after the other in a thread.

    `observe` is told the size and the seconds of each batch.
    """

    def __init__(self, queue_images: int, observe: Callable[[int, float], None]) -> None:
        self.queue_images, self.observe = queue_images, observe
        self._jobs: deque[_Job] = deque()
        self._parts: list[tuple[_Job, Latents]] = []  # the batch that is being drawn
        self._came = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "draw")
        self._images_per_s = 100.0  # a first guess for Retry-After; measured from then on
        self._task = asyncio.create_task(self._work())

    @property
    def waiting(self) -> int:
        """Images asked for and not yet drawn."""
        return sum(job.left for job in [*self._jobs, *(job for job, _ in self._parts)])

    async def draw(self, model: Draws, latents: Latents, timeout_s: float) -> Images:
        """Images of latents [n, dim], uint8 [n, H, W, C], all of them by `model`.

        Raises QueueFull at once, Late after `timeout_s`. A cancelled call is not drawn any further.
        """
        waiting = self.waiting
        if waiting and waiting + len(latents) > self.queue_images:
            raise QueueFull(waiting, max(1.0, waiting / self._images_per_s))
        future: asyncio.Future[Images] = asyncio.get_running_loop().create_future()
        self._jobs.append(_Job(model, latents, time.monotonic() + timeout_s, future))
        self._came.set()
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            raise Late(f"not drawn within {timeout_s:g} s. Ask for fewer, or later.") from None

    async def close(self) -> None:
        """Draw what was accepted, then stop."""
        while self.waiting:
            await asyncio.sleep(0.01)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown()

    async def _work(self) -> None:
        while True:
            await self._came.wait()
            self._parts = self._gather()
            if not self._parts:
                self._came.clear()
                continue
            try:
                await self._draw(self._parts)
            except Exception as error:  # of these requests, and not of those that come after them
                for job, _ in self._parts:
                    job.drawn = len(job.latents)
                    if not job.future.done():
                        job.future.set_exception(error)
            self._jobs.extend(job for job, _ in self._parts if job.left)
            self._parts = []

    def _gather(self) -> list[tuple[_Job, Latents]]:
        """Take one batch off the queue: for the first request's model, in the order of arrival."""
        parts: list[tuple[_Job, Latents]] = []
        room, others = 0, []
        while self._jobs and (not parts or room):
            job = self._jobs.popleft()
            if job.future.done() or time.monotonic() > job.deadline_s:
                continue  # gone or too late: nobody waits for it
            if parts and job.model is not parts[0][0].model:
                others.append(job)
                continue
            room = room if parts else job.model.batch_size
            part = job.latents[job.drawn : job.drawn + room]
            parts.append((job, part))
            room -= len(part)
        self._jobs.extendleft(reversed(others))
        return parts

    async def _draw(self, parts: list[tuple[_Job, Latents]]) -> None:
        model, batch = parts[0][0].model, np.concatenate([part for _, part in parts])
        began_s = time.perf_counter()
        loop = asyncio.get_running_loop()
        images = await loop.run_in_executor(self._thread, model.run, batch)
        seconds = time.perf_counter() - began_s
        self._images_per_s += 0.1 * (len(batch) / max(seconds, 1e-6) - self._images_per_s)
        self.observe(len(batch), seconds)
        start = 0
        for job, part in parts:
            job.images.append(images[start : start + len(part)])
            job.drawn += len(part)
            start += len(part)
            if not job.left and not job.future.done():
                whole = job.images[0] if len(job.images) == 1 else np.concatenate(job.images)
                job.future.set_result(whole)

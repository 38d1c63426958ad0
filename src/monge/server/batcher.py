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

import numpy as np

from monge.errors import Late, QueueFull
from monge.server.rows import Draws, Rows
from monge.serving.sampler import Images

_AT_ONCE_S = 0.001  # a batch that takes no longer is drawn in the event loop
_GUESS_S = 0.01  # for an image of a model that has not drawn yet


@dataclass(eq=False, slots=True)
class _Job:
    """One request's rows, and how many of its images are drawn."""

    model: Draws
    rows: Rows
    future: asyncio.Future[Images]
    timer: asyncio.TimerHandle
    images: list[Images] = field(default_factory=list)
    drawn: int = 0


class Batcher:
    """Gathers requests into batches and draws them one after the other.

    In a thread, unless handing a batch over would take longer than drawing it. `waiting` images are
    asked for and not drawn. `observe` is told the size and the seconds of each batch.
    """

    def __init__(self, queue_images: int, observe: Callable[[int, float], None]) -> None:
        self.queue_images, self.observe, self.waiting = queue_images, observe, 0
        self._jobs: deque[_Job] = deque()
        self._came = asyncio.Event()
        self._loop, self._thread = asyncio.get_running_loop(), ThreadPoolExecutor(1, "draw")
        self._model: Draws | None = None  # that drew last, and its seconds for an image
        self._image_s = _GUESS_S
        self._task = asyncio.create_task(self._work())

    def draw(self, model: Draws, rows: Rows, timeout_s: float) -> asyncio.Future[Images]:
        """Images of rows, uint8 [n, H, W, C], all by `model`; cancel it when nobody waits any more.

        Raises QueueFull at once, Late after `timeout_s`.
        """
        if self.waiting and self.waiting + len(rows) > self.queue_images:
            raise QueueFull(self.waiting, max(1.0, self.waiting * self._image_s))
        future: asyncio.Future[Images] = self._loop.create_future()
        timer = self._loop.call_later(timeout_s, _say_late, future, timeout_s)
        self._jobs.append(_Job(model, rows, future, timer))
        self.waiting += len(rows)
        self._came.set()
        return future

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
            parts = self._gather()
            if not parts:
                self._came.clear()
                continue
            try:
                await self._draw(parts)
            except Exception as error:  # of these requests, and not of those that come after them
                for job, _ in parts:
                    self._drop(job)
                    if not job.future.done():
                        job.future.set_exception(error)
            self._jobs.extend(job for job, _ in parts if job.drawn < len(job.rows))
            await asyncio.sleep(0)  # or a large request that is drawn here would hold up everything

    def _gather(self) -> list[tuple[_Job, Rows]]:
        """Take one batch off the queue: for the first request's model, in the order of arrival."""
        parts: list[tuple[_Job, Rows]] = []
        room, others = 0, []
        while self._jobs and (not parts or room):
            job = self._jobs.popleft()
            if job.future.done():  # gone or too late: nobody waits for it
                self._drop(job)
            elif parts and job.model is not parts[0][0].model:
                others.append(job)
            else:
                room = room if parts else job.model.batch_size
                part = job.rows[job.drawn : job.drawn + room]
                parts.append((job, part))
                room -= len(part)
        self._jobs.extendleft(reversed(others))
        return parts

    async def _draw(self, parts: list[tuple[_Job, Rows]]) -> None:
        model, rows = parts[0][0].model, [part for _, part in parts]
        began_s = time.perf_counter()
        if model is not self._model:
            self._model, self._image_s = model, _GUESS_S
        if not model.elsewhere and sum(map(len, rows)) * self._image_s <= _AT_ONCE_S:
            images = model.draw(rows)
        else:
            images = await self._loop.run_in_executor(self._thread, model.draw, rows)
        seconds = time.perf_counter() - began_s
        self.observe(len(images), seconds)
        # Up at once and down slowly: the event loop must not be held up a second time.
        self._image_s = max(
            seconds / len(images), 0.9 * self._image_s + 0.1 * seconds / len(images)
        )
        stop = 0
        for job, part in parts:
            start, stop = stop, stop + len(part)
            job.images.append(images[start:stop])
            job.drawn += len(part)
            self.waiting -= len(part)
            if job.drawn == len(job.rows):
                self._drop(job)
                if not job.future.done():
                    whole = job.images[0] if len(job.images) == 1 else np.concatenate(job.images)
                    job.future.set_result(whole)

    def _drop(self, job: _Job) -> None:
        self.waiting -= len(job.rows) - job.drawn
        job.drawn = len(job.rows)
        job.timer.cancel()


def _say_late(future: asyncio.Future[Images], timeout_s: float) -> None:
    if not future.done():
        future.set_exception(Late(f"not drawn within {timeout_s:g} s. Ask for fewer, or later."))

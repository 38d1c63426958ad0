"""Requests that wait together are drawn together; each gets its own images.

There is no waiting window: while one batch is drawn the next one gathers, so that a lone request
starts at once and many clients fill the batches by themselves. A full batch cannot gain by waiting:
it begins beside the one before it, so that its latents are ready when the network is. A request
larger than a batch gives way to the others after each of its parts.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from monge.errors import QueueFull
from monge.server.jobs import Job, Part
from monge.server.rows import Draws, Rows
from monge.serving.sampler import Images

_AT_ONCE_S = 0.001  # a batch that takes no longer is drawn in the event loop
_GUESS_S = 0.01  # for an image of a model that has not drawn yet
_TOGETHER = 2  # full batches under way


class Batcher:
    """Gathers requests into batches and draws them, in threads or, when it is quick, at once.

    `waiting` images are asked for and not drawn. `observe` is told the size and the seconds of
    each batch.
    """

    def __init__(self, queue_images: int, observe: Callable[[int, float], None]) -> None:
        self.queue_images, self.observe, self.waiting = queue_images, observe, 0
        self._jobs: deque[Job] = deque()  # with rows that are in no batch: `_untaken` in all
        self._untaken, self._under_way, self._called = 0, 0, False
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(_TOGETHER, "draw")
        self._model: Draws | None = None  # that drew last, and its seconds for an image
        self._image_s = _GUESS_S

    def draw(self, model: Draws, rows: Rows, timeout_s: float) -> asyncio.Future[Images]:
        """Images of rows, uint8 [n, H, W, C], all by `model`; cancel it when nobody waits any more.

        Raises QueueFull at once, Late after `timeout_s`.
        """
        if self.waiting and self.waiting + len(rows) > self.queue_images:
            raise QueueFull(self.waiting, max(1.0, self.waiting * self._image_s))
        job = Job.start(model, rows, timeout_s)
        self._jobs.append(job)
        self.waiting += job.left
        self._untaken += job.left
        self._call()
        return job.future

    async def close(self) -> None:
        """Draw what was accepted, then stop."""
        while self.waiting:
            await asyncio.sleep(0.01)
        self._threads.shutdown()

    def _call(self) -> None:
        """Begin a batch when all that has come by now is in the queue."""
        if not self._called:
            self._called = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._called = False
        full = bool(self._jobs) and self._untaken >= self._jobs[0].model.batch_size
        parts = self._gather() if self._under_way < (_TOGETHER if full else 1) else []
        if not parts:
            return
        model, rows = parts[0].job.model, [part.rows for part in parts]
        if model is not self._model:
            self._model, self._image_s = model, _GUESS_S
        drawing = partial(_timed, model, rows)
        alone = not (self._jobs or self._under_way or model.elsewhere)
        if alone and sum(part.count for part in parts) * self._image_s <= _AT_ONCE_S:
            self._end(parts, drawing, here=True)
            return
        self._under_way += 1
        future = self._loop.run_in_executor(self._threads, drawing)
        future.add_done_callback(partial(self._back, parts))
        self._call()

    def _gather(self) -> list[Part]:
        """Take one batch off the queue: for the first request's model, in the order of arrival."""
        parts: list[Part] = []
        room, others, begun = 0, list[Job](), list[Job]()
        while self._jobs and (not parts or room):
            job = self._jobs.popleft()
            if job.future.done():  # gone or too late: nobody waits for it
                job.timer.cancel()
                self.waiting -= job.left
                self._untaken -= job.left
            elif parts and job.model is not parts[0].job.model:
                others.append(job)
            else:
                room = room if parts else job.model.batch_size
                parts.append(job.take(room))
                room -= parts[-1].count
                if job.left:
                    begun.append(job)
        self._untaken -= sum(part.count for part in parts)
        self._jobs.extendleft(reversed(others))
        self._jobs.extend(begun)
        return parts

    def _back(self, parts: list[Part], drawing: asyncio.Future[tuple[Images, float]]) -> None:
        self._under_way -= 1
        self._begin()  # before the answers are written: nobody's drawing waits for that
        self._end(parts, drawing.result, here=False)

    def _end(
        self, parts: list[Part], drawn: Callable[[], tuple[Images, float]], *, here: bool
    ) -> None:
        """Give every request of a batch its images, or say why there are none."""
        self.waiting -= sum(part.count for part in parts)
        try:
            images, seconds = drawn()
        except Exception as error:  # of these requests, and not of those that come after them
            for part in parts:
                part.job.fail(error)
            return
        self.observe(len(images), seconds)
        self._learn(seconds / len(images), here)
        stop = 0
        for part in parts:
            start, stop = stop, stop + part.count
            part.receive(images[start:stop])

    def _learn(self, image_s: float, here: bool) -> None:
        """Note what an image took, in the event loop (`here`) or in a thread."""
        slowly = 0.9 * self._image_s + 0.1 * image_s
        # The loop must not be held up twice. A thread waits for Python's lock, which only adds.
        self._image_s = max(image_s, slowly) if here else min(image_s, slowly)


def _timed(model: Draws, rows: list[Rows]) -> tuple[Images, float]:
    began_s = time.perf_counter()
    return model.draw(rows), time.perf_counter() - began_s

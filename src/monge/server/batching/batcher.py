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
from monge.server.batching.full_size import FullSize
from monge.server.batching.inputs import Draws, Rows
from monge.server.batching.jobs import Job, Part
from monge.server.batching.latency import LatencyEstimate
from monge.serving.sampler import Images

_TOGETHER = 2  # batches under way, where as much waits as fills one

_Drawn = tuple[Images | Exception, float]  # and the seconds


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
        self._latency = LatencyEstimate()
        self._full: FullSize | None = None

    def draw(self, model: Draws, rows: Rows, timeout_s: float) -> asyncio.Future[Images]:
        """Images of rows, uint8 [n, H, W, C], all by `model`; cancel it when nobody waits any more.

        Raises QueueFull at once, Late after `timeout_s`.
        """
        if self.waiting and self.waiting + len(rows) > self.queue_images:
            raise QueueFull(self.waiting, max(1.0, self.waiting * self._latency.image_s))
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
        alone = not (self._jobs or self._under_way or model.elsewhere)
        if self._latency.quick(model, _size(parts)) and alone:
            images, seconds = _timed(model, rows)
            self._latency.learn(model, _size(parts), seconds, here=True)
            self._end(parts, images, seconds)
            return
        try:
            drawing = self._loop.run_in_executor(self._threads, _timed, model, rows)
        except RuntimeError as error:  # the system gives no more threads
            self._end(parts, error, 0.0)
        else:
            self._under_way += 1
            drawing.add_done_callback(partial(self._back, parts))
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
        self._untaken -= _size(parts)
        self._jobs.extendleft(reversed(others))
        self._jobs.extend(begun)
        return parts

    def _back(self, parts: list[Part], drawing: asyncio.Future[_Drawn]) -> None:
        self._under_way -= 1
        images, seconds = drawing.result()
        model, count = parts[0].job.model, _size(parts)
        self._latency.learn(model, count, seconds, here=False)
        if self._full is None or self._full.model is not model:
            self._full = FullSize(model)
        if isinstance(images, Exception):
            self._full.failed()
        else:
            busy = self._under_way > 0 or self._untaken > 0
            self._full.learn(count, time.perf_counter(), busy=busy)
        try:
            self._begin()  # before the answers are written: nobody's drawing waits for that
        finally:
            self._end(parts, images, seconds)

    def _end(self, parts: list[Part], images: Images | Exception, seconds: float) -> None:
        """Give every request of a batch its images, or say why there are none."""
        self.waiting -= _size(parts)
        try:
            if isinstance(images, Exception):
                raise images
            self.observe(len(images), seconds)
            stop = 0
            for part in parts:
                start, stop = stop, stop + part.count
                part.receive(images[start:stop])
        except Exception as error:  # of these requests, and not of those that come after them
            for part in parts:
                part.job.fail(error)


def _timed(model: Draws, rows: list[Rows]) -> _Drawn:
    began_s = time.perf_counter()
    try:
        return model.draw(rows), time.perf_counter() - began_s
    except Exception as error:
        return error, time.perf_counter() - began_s


def _size(parts: list[Part]) -> int:
    return sum(part.count for part in parts)

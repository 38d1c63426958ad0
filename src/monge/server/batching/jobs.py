"""A request that waits for its images, which come in one part or in several."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np

from monge.errors import Late
from monge.server.batching.inputs import Draws, Rows
from monge.serving.sampler import Images


@dataclass(eq=False, slots=True)
class Job:
    """One request: how many of its rows were taken, and what has been drawn of them."""

    model: Draws
    rows: Rows
    future: asyncio.Future[Images]
    timer: asyncio.TimerHandle
    count: int
    taken: int = 0
    drawn: int = 0
    images: Images | None = None

    @classmethod
    def start(cls, model: Draws, rows: Rows, timeout_s: float) -> Job:
        """A request that waits from now on; its future raises Late after `timeout_s`."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Images] = loop.create_future()
        timer = loop.call_later(timeout_s, _say_late, future, timeout_s)
        return cls(model, rows, future, timer, len(rows))

    @property
    def left(self) -> int:
        """Count its rows that nobody has taken."""
        return self.count - self.taken

    def take(self, most: int) -> Part:
        """The next rows."""
        first, count = self.taken, min(most, self.left)
        whole = count == self.count
        self.taken += count
        return Part(self, first, count, self.rows if whole else self.rows[first : first + count])

    def fail(self, error: Exception) -> None:
        """Say why there are no images."""
        self.timer.cancel()
        if not self.future.done():
            self.future.set_exception(error)


@dataclass(eq=False, slots=True)
class Part:
    """Some rows of a request: `count` of them, from its row `first` on."""

    job: Job
    first: int
    count: int
    rows: Rows

    def receive(self, images: Images) -> None:
        """Take the rows' images; the request has its own when the last of them have come."""
        job = self.job
        if job.future.done():  # too late, or gone
            return
        if self.count == job.count:
            job.images = images
        else:
            if job.images is None:
                job.images = np.empty((job.count, *images.shape[1:]), images.dtype)
            job.images[self.first : self.first + self.count] = images
        job.drawn += self.count
        if job.drawn == job.count:
            job.timer.cancel()
            job.future.set_result(job.images)


def _say_late(future: asyncio.Future[Images], timeout_s: float) -> None:
    if not future.done():
        future.set_exception(Late(f"not drawn within {timeout_s:g} s. Ask for fewer, or later."))

"""Keeps the feature classifier's training within a time, by its pace through the schedule."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable

log = logging.getLogger(__name__)

_TOLD_EVERY_S = 30.0
_UNTIMED = 3
_PATIENCE = 0.25
"""The share of the limit in which nothing is hurried: a machine may be busy at first."""

_LATEST = 32
"""Steps whose quicker quarter is the pace: a busy while among them is no reason to hurry."""


class Pace:
    """The places of the schedule that each step takes, so that the training ends in time.

    One each, always the same bits, where all steps fit into the limit at the pace of the latest
    ones. The first steps, slow ones, are not timed. `clock` is for tests.
    """

    def __init__(
        self, steps: int, limit_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.taken, self._position = 0, 0
        self._steps, self._limit_s, self._clock = steps, limit_s, clock
        self._began = self._before = self._told = clock()
        self._latest: deque[float] = deque(maxlen=_LATEST)

    @property
    def done(self) -> bool:
        """Tell whether the schedule is at its end."""
        return self._position >= self._steps

    def places(self) -> int:
        """After a step: how far the schedule goes on, at least 1 place and never past its end."""
        now = self._clock()
        self.taken += 1
        if self.taken > _UNTIMED:
            self._latest.append(now - self._before)
        self._before = now
        places = 1
        if self._latest and now - self._began >= _PATIENCE * self._limit_s:
            step_s = sorted(self._latest)[len(self._latest) // 4]
            left_s = self._limit_s - (now - self._began)
            affordable = max(1.0, left_s / step_s) if step_s else math.inf
            places = math.ceil((self._steps - self._position) / affordable)
        places = max(1, min(places, self._steps - self._position))
        self._position += places
        if now - self._told >= _TOLD_EVERY_S:
            self._told = now
            share = self._position / self._steps
            log.info("feature classifier: %.0f %%, %.0f s so far", 100 * share, now - self._began)
        return places

    def tell_end(self) -> None:
        """Log how long it took, and that it was cut short where it was."""
        seconds = self._clock() - self._began
        log.info("trained the feature classifier in %.1f s", seconds)
        if self.taken < self._steps:
            log.warning(
                "the feature classifier had time for %d of %d steps; its figures compare with each "
                "other, and not with those of another machine", self.taken, self._steps,
            )  # fmt: skip

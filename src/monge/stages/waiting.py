"""Waiting for a server that is away, as long as a person allowed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from monge.durations import duration
from monge.errors import ServerAway

log = logging.getLogger(__name__)

T = TypeVar("T")

POLL_S = 5.0
_TELL_S = 30.0


def when_back(work: Callable[[], T], wait_s: float) -> T:
    """Do some work that may be begun again, and while a server is away wait and do so.

    Raises the ServerAway of the last try when `wait_s` are over.
    """
    end_s, told_s = float("inf"), float("-inf")
    while True:
        try:
            return work()
        except ServerAway as away:
            if end_s == float("inf"):
                end_s = time.monotonic() + wait_s  # the first try's time is not waiting
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                raise
            if time.monotonic() - told_s >= _TELL_S:
                told_s = time.monotonic()
                log.warning("waiting for the server, for %s at most: %s", duration(left_s), away)
            time.sleep(min(POLL_S, left_s))

"""Runs in one folder take turns: a lock that a killed run lets go of."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from monge import files
from monge.errors import Interrupted
from monge.paths import Paths
from pipelines import child

POLL_S = 3.0
STOPPED = "stopped; what was done is kept, and the same command goes on"
KEPT = "kept.lock"
"""The lock of a kept checkout, which is brought to another commit only between two runs."""


@contextmanager
def taken(root: Path, log: Callable[[str], None], name: str = "chain.lock") -> Iterator[None]:
    """Hold the turn in a folder, after the runs before this one. Raises Interrupted if stopped."""
    path, waited = Paths(root).own_state / name, False
    while (held := files.lock(path, wait=False)) is None:
        if not waited:
            log("another run is at work in this folder; waiting for it")
            waited = True
        time.sleep(POLL_S)
        if child.stopping:
            raise Interrupted(STOPPED)
    try:
        yield
    finally:
        os.close(held)

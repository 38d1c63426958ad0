"""The number of connections that the system lets a service have."""

from __future__ import annotations

import logging
import os
import resource

_SPARE_FILES = 32
_BACKLOG = 2048
log = logging.getLogger(__name__)


def room(wanted: int) -> tuple[int, int]:
    """Find how many connections, and how many that nobody has taken yet, the system lets us have.

    Open files are connections and all else that is open: the limit is raised where it may be.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 64
    needed = wanted + _BACKLOG + used + _SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    free = needed if soft == resource.RLIM_INFINITY else soft - used - _SPARE_FILES
    backlog = max(1, min(_BACKLOG, free // 2))
    most = max(1, min(wanted, free - backlog))
    if most < wanted:
        log.warning("at most %d connections, as only %d files may be open (ulimit -n)", most, soft)
    return most, backlog

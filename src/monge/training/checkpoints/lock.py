"""One training at a time in a folder, held by the operating system so that a kill frees it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from monge.errors import Busy
from monge.files import storing


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; raises Busy, naming the holder, when another has it."""
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read(20).strip() or "unknown"
            raise Busy(
                f"{path.parent}: process {holder} is training here. Wait for it, or stop it with "
                f"`kill {holder}` (it saves a checkpoint first)."
            ) from None
        with storing(path):
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), str(os.getpid()).encode())
        yield


def holder(path: Path) -> int | None:
    """Find the process that holds the lock, untouched; None when none does, or not on Linux."""
    try:
        status = path.stat()
        held = Path("/proc/locks").read_text("ascii").splitlines()
    except OSError:
        return None
    inode = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for line in held:  # 1: FLOCK  ADVISORY  WRITE 1234 fd:00:5678 0 EOF
        fields = line.split()
        if inode in fields and "FLOCK" in fields and fields[4].isdigit():
            return int(fields[4])
    return None

"""Finds which ports are free, and who has those that are not."""

from __future__ import annotations

import os
import pwd
import socket
from contextlib import suppress
from pathlib import Path

from monge.errors import ServiceError
from pipelines.stack.settings import HOST, Settings

_LISTENS = "0A"


def require(settings: Settings, wanted: dict[int, str]) -> None:
    """Raise ServiceError for ports that other programs have: each with who, and what to do."""
    options = settings.ports()
    taken = [port for port in wanted if not is_free(port)]
    if not taken:
        return
    lines = [f"port {port} for {wanted[port]} is taken by {holder(port)}" for port in taken]
    advice = ", or ".join(dict.fromkeys(f"{options[port]} N" for port in taken))
    raise ServiceError("; ".join(lines) + f'. Stop that, or choose another: make up UP="{advice}".')


def is_free(port: int) -> bool:
    """Tell whether a port of loopback can be listened at."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def holder(port: int) -> str:
    """Name who listens at a port, as far as the kernel says: program, process and user."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == _LISTENS and int(words[1].rpartition(":")[2], 16) == port:
                    return _told(int(words[7]), words[9])
    return "another program"


def _told(uid: int, inode: str) -> str:
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = f"number {uid}"
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and _has(folder / "fd", inode):
            with suppress(OSError):
                name = (folder / "comm").read_text().strip()
                return f"{name} (process {folder.name}, user {user})"
    return f"a program of user {user}: ask there"


def _has(folder: Path, inode: str) -> bool:
    try:
        return any(os.readlink(each) == f"socket:[{inode}]" for each in folder.iterdir())
    except OSError:
        return False

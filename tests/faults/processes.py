"""What the system knows of processes: whose children they are, whether they run, their ports."""

from __future__ import annotations

import os
from pathlib import Path


def family(root: int) -> list[int]:
    """A process and all that came from it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            after = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if after[0] != "Z":
            parents.setdefault(int(after[1]), []).append(int(entry.parent.name))
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += parents.get(pid, [])
    return found


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def listening(pids: list[int]) -> dict[str, list[int]]:
    """Ports of these processes: those that only this machine reaches, and the others."""
    inodes = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                target = os.readlink(descriptor)
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    ports: dict[str, list[int]] = {"loopback": [], "open": []}
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] != "0A" or words[9] not in inodes:
                continue
            host, port = words[1].split(":")
            loopback = host[-8:] == "0100007F" or host == "0" * 24 + "01000000"
            ports["loopback" if loopback else "open"].append(int(port, 16))
    return ports

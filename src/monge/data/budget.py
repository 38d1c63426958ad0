"""Finds the memory that is free, on a GPU or for this process on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import torch


def free_bytes(device: torch.device, root: Path = Path("/")) -> int:
    """Bytes free on a CUDA device, or that this machine and this container leave to the process.

    `root` is where /proc and /sys are.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free
    return min([_machine(root), *_containers(root)])


def _machine(root: Path) -> int:
    try:
        for line in (root / "proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _containers(root: Path) -> list[int]:
    """List what each control group (version 2) of the process leaves; cached pages are free."""
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return []
    top = root / "sys/fs/cgroup"
    here = top / next((line[3:] for line in lines if line.startswith("0::")), "").lstrip("/")
    left = []
    for group in (here, *here.parents):
        try:
            limit = (group / "memory.max").read_text("ascii").strip()
            used = int((group / "memory.current").read_text("ascii"))
            facts = dict(
                line.split() for line in (group / "memory.stat").read_text("ascii").splitlines()
            )
        except (OSError, ValueError):
            continue  # the top group has no limit
        if limit != "max":
            left.append(int(limit) - used + int(facts.get("inactive_file", 0)))
    return left

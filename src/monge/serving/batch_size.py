"""Finds by trying how many images a machine draws fastest at a time, and remembers it on disk."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

from monge.serving.shares import cores

SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)
_EACH_S = 0.04
_LONG_S = 0.1  # a batch that takes this long hides what a call costs: no larger one is tried
_AS_GOOD = 0.97  # of the fastest: the smallest size that is about as fast answers sooner
_MOST_REMEMBERED = 1000


def fastest(draw: Callable[[int], object], largest: int, key: str) -> int:
    """The smallest of SIZES, at most `largest`, that draws about as fast as the fastest.

    Takes half a second to two the first time on a machine; `key` says what model. A cache that
    cannot be read or written costs that again and nothing else.
    """
    known, key = _read(), f"{key} on {_machine()}"
    if isinstance(known.get(key), int) and 1 <= known[key] <= largest:
        return known[key]
    speeds: dict[int, float] = {}
    for size in (size for size in SIZES if size <= largest):
        speeds[size] = _images_per_s(draw, size)
        if size > _LONG_S * speeds[size]:
            break
    if not speeds:
        return largest
    most = max(speeds.values())
    chosen = min(size for size, speed in speeds.items() if speed >= _AS_GOOD * most)
    _write({**dict(list(known.items())[-_MOST_REMEMBERED:]), key: chosen})
    return chosen


def _images_per_s(draw: Callable[[int], object], size: int) -> float:
    """The best of a few batches, two at least, after one that warms up."""
    draw(size)
    began_s, seconds = time.perf_counter(), list[float]()
    while len(seconds) < 2 or time.perf_counter() - began_s < _EACH_S:
        start_s = time.perf_counter()
        draw(size)
        seconds.append(time.perf_counter() - start_s)
    return size / max(min(seconds), 1e-9)


@functools.cache
def _machine() -> str:
    """Name the processor, of which a home folder may see several, and count the cores in use."""
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        told = ""
    names = (line.partition(":")[2].strip() for line in told.splitlines() if "model name" in line)
    return f"{cores()} x {next(names, platform.processor() or platform.machine())}"


def _place() -> Path:
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "monge" / "batch-sizes.json"


def _read() -> dict[str, int]:
    try:
        known = json.loads(_place().read_bytes())
    except (OSError, ValueError, RuntimeError):  # RuntimeError: there is no home folder
        return {}
    return known if isinstance(known, dict) else {}


def _write(known: dict[str, int]) -> None:
    with contextlib.suppress(OSError, RuntimeError):
        place = _place()
        place.parent.mkdir(parents=True, exist_ok=True)
        aside = place.with_name(f".{place.name}.{os.getpid()}")
        aside.write_text(json.dumps(known), encoding="ascii")
        aside.replace(place)

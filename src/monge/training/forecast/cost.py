"""The cost of training: wall time, and energy where the machine counts it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from monge.files import locked, write_whole

COUNTERS = Path("/sys/class/powercap")
"""Linux's energy counters of the processor packages, in microjoules; root's alone on many."""


@contextmanager
def metered(ledger: Path, key: str, counters: Path = COUNTERS) -> Iterator[None]:
    """Add the seconds, and the joules if they can be read, of what happens inside to a ledger.

    The ledger is JSON by run, and sums over interrupted trainings; what a SIGKILL cut off is not
    in it. Joules are those of all processor packages, whoever used them, and are left out of a run
    that was once measured without.
    """
    began_s, before = time.monotonic(), _microjoules(counters)
    try:
        yield
    finally:
        seconds, after = time.monotonic() - began_s, _microjoules(counters)
        with locked(ledger.with_suffix(".lock")):  # experiments that run at once share a ledger
            entries = _read(ledger)
            entry = entries.setdefault(key, {"seconds": 0.0, "joules": 0.0})
            entry["seconds"] += seconds
            if "joules" in entry and before and before.keys() == after.keys():
                entry["joules"] += sum(_spent(before[c], after[c], c) for c in before) / 1e6
            else:
                entry.pop("joules", None)
            write_whole(ledger, (json.dumps(entries, indent=1) + "\n").encode())


def _read(ledger: Path) -> dict[str, dict[str, float]]:
    try:
        found: dict[str, dict[str, float]] = json.loads(ledger.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def _microjoules(counters: Path) -> dict[Path, int]:
    """Each package's counter; empty where none can be read."""
    found = {}
    for folder in sorted(counters.glob("intel-rapl:[0-9]*")):
        if ":" in folder.name.removeprefix("intel-rapl:"):
            continue  # a part of a package, which counts it too
        try:
            found[folder] = int((folder / "energy_uj").read_text())
        except (OSError, ValueError):
            return {}
    return found


def _spent(before: int, after: int, folder: Path) -> int:
    """Microjoules between two readings of a counter that starts over at its range."""
    if after >= before:
        return after - before
    return after - before + int((folder / "max_energy_range_uj").read_text())

"""Remembers a run on this machine: MLflow's id for it, and the steps it has logged."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from monge.files import locked, write_whole
from monge.tracking.spool import Event


@dataclass
class Memory:
    """`<state>/runs/<key>.json`: outlives the spool."""

    address: str = ""
    run_id: str = ""
    highest: dict[str, int] = field(default_factory=dict)


def recall(state: Path, key: str) -> Memory:
    """Read what is known of run `key`; an empty memory for a new or unreadable one."""
    try:
        known = json.loads((state / "runs" / f"{key}.json").read_bytes())
        highest = {str(name): int(step) for name, step in known["highest"].items()}
        return Memory(str(known["address"]), str(known["run_id"]), highest)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Memory()


def remember(
    state: Path,
    key: str,
    *,
    address: str | None = None,
    run_id: str | None = None,
    highest: dict[str, int] | None = None,
) -> None:
    """Merge into the memory of run `key`; steps only ever rise. Raises StorageError."""
    with locked(state / "runs" / f"{key}.lock"):
        old = recall(state, key)
        known = {
            "address": old.address if address is None else address,
            "run_id": old.run_id if run_id is None else run_id,
            "highest": raised(old.highest, highest or {}),
        }
        write_whole(state / "runs" / f"{key}.json", json.dumps(known, indent=1).encode())


def raised(old: dict[str, int], new: dict[str, int]) -> dict[str, int]:
    """The greater step of each name."""
    return {name: max(old.get(name, -1), new.get(name, -1)) for name in {**old, **new}}


def highest_steps(events: Iterable[Event]) -> dict[str, int]:
    """The highest step of each figure among events."""
    highest: dict[str, int] = {}
    for event in events:
        if event["kind"] == "metrics":
            highest = raised(highest, dict.fromkeys(event["values"], int(event["step"])))
    return highest

"""The spool: everything logged, in order, on this disk, until MLflow has it."""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Literal

from monge.files import lock, storing, write_whole

log = logging.getLogger(__name__)

Event = dict[str, Any]
Status = Literal["FINISHED", "FAILED", "KILLED"]

CHUNK_BYTES = 4 << 20
GONE = "=gone"  # no run's key has the sign


class Spool:
    """One writer's events (`events.jsonl`), its pictures and files, and how far they were sent.

    Whoever holds a Spool holds its lock: a living writer's events are never replayed by another.
    """

    def __init__(self, folder: Path, handle: int) -> None:
        self.folder = folder
        self._lock = handle
        self._events = folder / "events.jsonl"
        self._write = threading.Lock()
        self._file = -1
        with storing(self._events):
            self._file = os.open(self._events, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            self._size = _cut_torn_line(self._file)
        self._sent = _read_sent(folder / "sent.json")
        if self._sent > self._size:  # the events were cut: what comes now has those places
            self.mark(self._size)

    def append(self, event: Event) -> None:
        """Add one event: it survives the death of this process. Raises StorageError."""
        event = {"time_ms": time.time_ns() // 1_000_000, **event}
        line = json.dumps(event, separators=(",", ":")).encode() + b"\n"
        with self._write, storing(self._events):
            try:
                written = os.write(self._file, line)
                if written < len(line):
                    os.write(self._file, line[written:])
            except OSError:
                os.ftruncate(self._file, self._size)
                raise
            self._size += len(line)

    def place(self, name: str) -> Path:
        """A new path in the spool for a file called `name`, to be named in an event."""
        with storing(self.folder):
            place = self.folder / "files" / uuid.uuid4().hex  # a clock may stand, or be set back
            place.mkdir(parents=True)
        return place / name

    def unsent(self, most_points: int) -> tuple[list[Event], int]:
        """The next events, about `most_points` figures of them, and the offset after them."""
        with self._write:
            size = self._size
        os.fsync(self._file)
        data = os.pread(self._file, min(CHUNK_BYTES, size - self._sent), self._sent)
        if data and b"\n" not in data:
            data = os.pread(self._file, size - self._sent, self._sent)
        events: list[Event] = []
        offset, points = self._sent, 0
        for line in data[: data.rfind(b"\n") + 1].splitlines(keepends=True):
            offset += len(line)
            try:
                events.append(json.loads(line))
            except ValueError:
                log.warning("%s: an unreadable line at byte %d is skipped", self._events, offset)
                continue
            points += len(events[-1].get("values", ())) or 1
            if points >= most_points:
                break
        return events, offset

    def mark(self, offset: int) -> None:
        """Remember that everything before `offset` was sent."""
        write_whole(self.folder / "sent.json", json.dumps({"offset": offset}).encode())
        self._sent = offset

    def drop_file(self, relative: str) -> None:
        """Remove a file that was sent."""
        shutil.rmtree((self.folder / relative).parent, ignore_errors=True)

    def events(self) -> Iterator[Event]:
        """Every event, sent or not."""
        return _events(self._events)

    def opening(self) -> Event:
        """The first event, which names the run and its experiment."""
        return next(self.events())

    def closed(self) -> bool:
        """Tell whether the writer said its last word, or none at all."""
        last = deque(self.events(), maxlen=1)
        return not last or last[0]["kind"] == "close"

    def waiting(self) -> int:
        """Count the events that were not sent."""
        try:
            return self._events.read_bytes()[self._sent :].count(b"\n")
        except FileNotFoundError:  # sent and removed just now
            return 0

    def all_sent(self) -> bool:
        """Tell whether nothing waits."""
        with self._write:
            return self._sent >= self._size

    def remove(self) -> None:
        """Delete the spool and let go of it."""
        # Renamed first: a new writer of this run must not find it half deleted.
        gone = self.folder.with_name(f"{self.folder.name}{GONE}{uuid.uuid4().hex}")
        with storing(self.folder):
            self.folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
        self.release()

    def release(self) -> None:
        """Let go of the spool without deleting it."""
        with self._write:
            for handle in (self._file, self._lock):
                if handle >= 0:
                    os.close(handle)
            self._file = self._lock = -1


def own(state: Path, key: str) -> Spool:
    """The spool for a new writer of run `key`: what a dead writer left, or a fresh one."""
    for number in count():
        folder = state / "spool" / (f"{key}~{number}" if number else key)
        handle = lock(folder / "lock", wait=False)
        if handle is not None:
            return Spool(folder, handle)
    raise AssertionError("unreachable")


def abandoned(state: Path) -> Iterator[Spool]:
    """Spools whose writers are gone, oldest first, each locked by us."""
    for leftover in (state / "spool").glob(f"*{GONE}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    for path in sorted((state / "spool").glob("*/events.jsonl"), key=_first_time):
        handle = lock(path.parent / "lock", wait=False)
        if handle is None:
            continue
        yield Spool(path.parent, handle)


def written(state: Path, key: str) -> Iterator[Event]:
    """Every event of a run that is still in a spool, whoever writes or sends it."""
    for folder in (key, f"{key}~*"):
        for path in (state / "spool").glob(f"{folder}/events.jsonl"):
            yield from _events(path)


def _events(path: Path) -> Iterator[Event]:
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        with suppress(ValueError):
            yield json.loads(line)


def _first_time(path: Path) -> float:
    try:
        with path.open("rb") as file:
            return float(json.loads(file.readline())["time_ms"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def _read_sent(path: Path) -> int:
    # Without the note everything is sent again, which MLflow's store tells apart by its time stamp.
    try:
        return int(json.loads(path.read_bytes())["offset"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _cut_torn_line(file: int) -> int:
    """Cut what follows the last newline (a writer was killed); the size that is left."""
    size = os.fstat(file).st_size
    end = size
    while end > 0:
        start = max(0, end - 65536)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        os.ftruncate(file, end)
    return end

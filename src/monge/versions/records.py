"""The records of versions: `data/versions.jsonl`, a line each, in the order that they were made."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from monge.errors import InputError
from monge.files import write_whole
from monge.paths import Paths


@dataclass(frozen=True)
class Added:
    """The images that an addition brought, and those of it that were left aside."""

    source: str
    images: int = 0
    classes: dict[str, int] = field(default_factory=dict)
    duplicates: int = 0
    near: int = 0
    rejected: int = 0


@dataclass(frozen=True)
class Record:
    """A version: `hash` is DVC's of all bytes at `path`; `classes` counts the images of each."""

    version: int
    path: str
    hash: str
    date: str
    by: str
    images: int
    held_out: int
    classes: dict[str, int] = field(default_factory=dict)
    parent: int | None = None
    added: Added | None = None


def counted(record: Record) -> str:
    """Say how many images a version has."""
    told = f"{record.images:,} images, {record.held_out:,} of them held out"
    classes = _listed(record.classes)
    return f"{told}: {classes}" if classes else told


def told(added: Added) -> str:
    """Say what an addition brought."""
    classes = _listed(added.classes)
    parts = [f"added {added.images:,} of {added.source}{f' ({classes})' if classes else ''}"]
    if added.duplicates:
        parts.append(f"{added.duplicates:,} there already or twice")
    if added.near:
        parts.append(f"{added.near:,} like another one")
    if added.rejected:
        parts.append(f"{added.rejected:,} rejected")
    return "; ".join(parts)


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def read(paths: Paths) -> list[Record]:
    """Read every record, oldest first. Raises InputError for a damaged file."""
    try:
        lines = paths.versions.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    try:
        return [_record(line) for line in lines if line.strip()]
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{paths.versions}: cannot be read ({error}). Mend the line, or take the file from git "
            f"again: git checkout -- {paths.versions}"
        ) from None


def append(paths: Paths, record: Record) -> None:
    """Add a record, whole or not at all."""
    before = paths.versions.read_bytes() if paths.versions.is_file() else b""
    line = json.dumps(asdict(record), ensure_ascii=False) + "\n"
    end = b"" if before.endswith(b"\n") or not before else b"\n"  # of a file that was cut
    write_whole(paths.versions, before + end + line.encode("utf-8"))


def current(records: list[Record], path: str, md5: str | None) -> Record | None:
    """Find the newest record of a hash at a path."""
    mine = [each for each in records if each.path == path and each.hash == md5]
    return mine[-1] if mine else None


def find(records: list[Record], which: str) -> Record:
    """Find a version by its number, or by the beginning of its hash. Raises InputError."""
    found = [each for each in records if which.removeprefix("v") == str(each.version)]
    found = found or [each for each in records if len(which) >= 4 and each.hash.startswith(which)]
    if len({each.hash for each in found}) == 1:
        return found[-1]
    there = ", ".join(str(each.version) for each in records[-12:]) or "none yet"
    raise InputError(f"no version of the images is {which!r}. There are: {there}.")


def _record(line: str) -> Record:
    document = json.loads(line)
    added = document.pop("added", None)
    return Record(**document, added=None if added is None else Added(**added))

"""Notes what is half done before the step that counts, so that the next command ends it.

An addition counts from the moment that its file has its place; what was made before that moment is
thrown away, what is to be done after it (DVC, the record) is done by whoever comes next.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from monge.errors import EnvironmentFault, InputError
from monge.files import write_whole
from monge.paths import Paths
from monge.versions import records
from monge.versions.dvc import Tracked
from monge.versions.records import Added, Record


@dataclass(frozen=True)
class Addition:
    """An addition on its way: the file `made` is to be at `place`, and the version's record."""

    made: Path
    place: Path
    record: Record


def begin_addition(paths: Paths, addition: Addition) -> None:
    """Note an addition whose file is made and does not have its place yet."""
    note = {
        "made": str(addition.made), "place": str(addition.place), "record": asdict(addition.record)
    }  # fmt: skip
    write_whole(_file(paths), json.dumps(note).encode("utf-8"))


def begin_checkout(paths: Paths, md5: str) -> None:
    """Note that the images are on their way to another version."""
    write_whole(_file(paths), json.dumps({"checkout": md5}).encode("utf-8"))


def end(paths: Paths) -> None:
    """Note that nothing is half done."""
    _file(paths).unlink(missing_ok=True)


def finish(paths: Paths, tracked: Tracked) -> Iterator[str]:
    """End what a killed command left half done; a sentence about it."""
    try:
        note = json.loads(_file(paths).read_bytes())
    except FileNotFoundError:
        return
    except ValueError:  # it is written whole or not at all
        raise InputError(f"{_file(paths)}: cannot be read. Remove it, and run it again.") from None
    if "checkout" in note:
        _bring(paths, tracked, note["checkout"])
        yield "went on with a checkout that was interrupted"
    elif Path(note["made"]).exists():
        Path(note["made"]).unlink()
    else:
        added = note["record"].pop("added")
        record = Record(**note["record"], added=Added(**added))
        settle(paths, tracked, record)
        yield f"went on with an addition that was interrupted: version {record.version}"
    end(paths)


def _bring(paths: Paths, tracked: Tracked, md5: str) -> None:
    tracked.point_at(md5)
    try:
        tracked.bring()
    except EnvironmentFault as error:
        raise EnvironmentFault(
            f"a checkout was interrupted, and cannot go on: {error}. Run it again when the remote "
            f"answers; or remove {_file(paths)} to stay with the images that are there."
        ) from None


def settle(paths: Paths, tracked: Tracked, record: Record) -> Record:
    """Have DVC keep what is there, and record it as a version; its record."""
    record = replace(record, hash=tracked.add())
    if records.current(records.read(paths), record.path, record.hash) is None:
        records.append(paths, record)
    return record


def _file(paths: Paths) -> Path:
    return paths.own_state / "data-pending.json"

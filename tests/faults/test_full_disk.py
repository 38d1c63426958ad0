"""A disk that is full in the middle of a training: a line with the place, and whole rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from monge.errors import StorageError
from monge.training.checkpoints.lock import exclusive
from monge.training.watch.history import History
from tests.full_disk import room_for


def test_a_curve_and_a_lock_that_have_no_room_are_named(tmp_path: Path) -> None:
    history = History(tmp_path, 0, "estimate")
    history.append(1, {"estimate": 1.0})
    some = history.path.stat().st_size + 3
    with room_for(some), pytest.raises(StorageError, match=r"history\.csv: cannot be written"):
        history.append(2, {"estimate": 1.0})
    assert history.path.stat().st_size == some, "half a row"
    History(tmp_path, 2, "estimate").append(2, {"estimate": 2.0})
    assert [row.split(",")[:2] for row in history.path.read_text().splitlines()] == [
        ["step", "estimate"], ["1", "1"], ["2", "2"],
    ]  # fmt: skip
    taken = exclusive(tmp_path / "lock")
    with room_for(0), pytest.raises(StorageError, match="lock: cannot be written"), taken:
        pass
    with exclusive(tmp_path / "lock"):
        pass

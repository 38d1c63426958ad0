"""The spool keeps what was logged through torn lines, killed writers and full disks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from monge.errors import StorageError
from monge.files import lock, write_whole
from monge.tracking.memory import recall, remember
from monge.tracking.spool import abandoned, own, written


def fill(state: Path, key: str, count: int) -> None:
    spool = own(state, key)
    for step in range(count):
        spool.append({"kind": "metrics", "step": step, "values": {"loss": step / 2}})
    spool.release()


def test_a_torn_last_line_is_cut_and_the_next_event_is_whole(tmp_path: Path) -> None:
    fill(tmp_path, "k", 3)
    path = tmp_path / "spool/k/events.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"kind":"metrics","step":3,"val')
    spool = own(tmp_path, "k")
    spool.append({"kind": "metrics", "step": 4, "values": {"loss": 2.0}})
    assert [event["step"] for event in spool.events()] == [0, 1, 2, 4]
    assert path.read_bytes().startswith(whole)


def test_what_was_marked_as_sent_is_not_read_again_after_reopening(tmp_path: Path) -> None:
    fill(tmp_path, "k", 10)
    spool = own(tmp_path, "k")
    events, offset = spool.unsent(most_points=4)
    assert [event["step"] for event in events] == [0, 1, 2, 3]
    spool.mark(offset)
    spool.release()
    rest, _ = own(tmp_path, "k").unsent(most_points=100)
    assert [event["step"] for event in rest] == [4, 5, 6, 7, 8, 9]


def test_an_unreadable_line_in_the_middle_costs_only_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, "k", 3)
    path = tmp_path / "spool/k/events.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"\0\0\0\n" + lines[2])
    events, offset = own(tmp_path, "k").unsent(100)
    assert [event["step"] for event in events] == [0, 2]
    assert offset == path.stat().st_size
    assert "unreadable line" in caplog.text


def test_a_living_writers_spool_is_nobody_elses(tmp_path: Path) -> None:
    first = own(tmp_path, "k")
    first.append({"kind": "open", "key": "k"})
    second = own(tmp_path, "k")
    second.append({"kind": "open", "key": "k"})
    assert first.folder != second.folder
    assert list(abandoned(tmp_path)) == []
    assert len(list(written(tmp_path, "k"))) == 2
    first.release()
    assert [spool.folder for spool in abandoned(tmp_path)] == [first.folder]


def test_abandoned_spools_come_oldest_first_and_a_killed_writer_lets_go(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from monge.tracking.spool import own\n"
        "own(Path(sys.argv[1]), 'killed').append({'kind': 'open', 'key': 'killed'})\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        assert list(abandoned(tmp_path)) == []
        child.send_signal(signal.SIGKILL)
        child.wait()
    newer = own(tmp_path, "a-newer")
    newer.append({"kind": "open", "key": "a-newer"})
    newer.release()
    assert [spool.folder.name for spool in abandoned(tmp_path)] == ["killed", "a-newer"]


def test_a_removed_spool_leaves_nothing_and_its_name_can_be_used_again(tmp_path: Path) -> None:
    spool = own(tmp_path, "k")
    place = spool.place("picture.png")
    place.write_bytes(b"x")
    spool.remove()
    assert list((tmp_path / "spool").iterdir()) == []
    assert own(tmp_path, "k").folder.name == "k"


def test_a_full_disk_is_a_storage_error_and_leaves_whole_lines(tmp_path: Path) -> None:
    # A limit on the file's size stands in for the disk: the kernel refuses the write half way.
    code = """
import resource, signal, sys
from pathlib import Path
from monge.errors import StorageError
from monge.tracking.spool import own
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
spool = own(Path(sys.argv[1]), "k")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    for step in range(1000):
        spool.append({"kind": "metrics", "step": step, "values": {"loss": 1.0}})
except StorageError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "events.jsonl: cannot be written" in done.stdout
    lines = (tmp_path / "spool/k/events.jsonl").read_bytes()
    assert lines.endswith(b"\n")
    assert [json.loads(line)["step"] for line in lines.splitlines()] == list(
        range(len(lines.splitlines()))
    )


def test_a_file_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "note.json"
    write_whole(path, b"old")

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(StorageError, match=r"note\.json.*No space left.*Free space"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_lock_that_is_held_is_not_given_twice(tmp_path: Path) -> None:
    held = lock(tmp_path / "a.lock")
    assert lock(tmp_path / "a.lock", wait=False) is None
    assert held is not None
    os.close(held)
    assert lock(tmp_path / "a.lock", wait=False) is not None


def test_the_memory_of_steps_only_rises_and_survives_damage(tmp_path: Path) -> None:
    remember(tmp_path, "k", address="a", run_id="r", highest={"loss": 5, "rate": 1})
    remember(tmp_path, "k", highest={"loss": 3, "new": 0})
    known = recall(tmp_path, "k")
    assert (known.address, known.run_id) == ("a", "r")
    assert known.highest == {"loss": 5, "rate": 1, "new": 0}
    (tmp_path / "runs/k.json").write_bytes(b'{"address": "a", ')
    assert recall(tmp_path, "k").run_id == ""

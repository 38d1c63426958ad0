"""Protects: what the disk damaged in DVC's cache is not taken for the images or for the model."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
import yaml

from monge.errors import EnvironmentFault
from monge.paths import Paths
from monge.stages import dvc_lock
from monge.versions import cached
from monge.versions.dvc import Tracked, forget_cut_note
from tests.running import write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with git and DVC."""
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    return tmp_path


def rot(place: Path) -> None:
    """Change a byte as a disk does: DVC sees the same time, and the same protection."""
    before = place.stat()
    place.chmod(0o644)
    data = bytearray(place.read_bytes())
    data[len(data) // 2] ^= 1
    place.write_bytes(data)
    place.chmod(before.st_mode)


def kept(root: Path, md5: str) -> Path:
    return root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


def test_damaged_images_are_named_and_with_a_remote_taken_out_to_be_fetched(root: Path) -> None:
    (root / "images" / "cat").mkdir(parents=True)
    for number in range(3):
        (root / "images" / "cat" / f"{number}.png").write_bytes(bytes([number]) * 99)
    (root / ".dvc" / "tmp").mkdir()
    (root / ".dvc" / "tmp" / "rwlock").write_text('{"write": {"/the')  # a power cut's
    md5 = Tracked(root, "images").add()
    assert cached.require_whole(root, "images", md5) == []
    (wanted,) = [file for file in kept(root, "").rglob("*") if b"\1" * 99 in _bytes(file)]
    rot(wanted)
    with pytest.raises(EnvironmentFault, match=r"images/cat/1\.png: damaged in DVC's cache") as why:
        cached.require_whole(root, "images", md5)
    assert str(wanted) in str(why.value)
    assert wanted.exists(), "without a remote there may be no other copy"
    (root / ".dvc" / "config").write_text("[core]\n    remote = there\n")
    assert cached.require_whole(root, "images", md5) == ["images/cat/1.png"]
    assert not wanted.exists()
    rot(kept(root, md5))
    assert cached.require_whole(root, "images", md5) == ["images"]


def test_a_damaged_generator_is_exported_anew_and_its_copy_in_the_cache_goes(root: Path) -> None:
    paths = Paths(root)
    write(paths.model)
    md5 = hashlib.md5(paths.model.read_bytes()).hexdigest()
    kept(root, md5).parent.mkdir(parents=True)
    kept(root, md5).write_bytes(paths.model.read_bytes())
    out = {"path": "models/generator.onnx", "hash": "md5", "md5": md5}
    command = "sh pipelines/monge export --"
    lock = {"schema": "2.0", "stages": {"export": {"cmd": command, "outs": [out]}}}
    (root / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))
    assert dvc_lock.untrue(paths) == {}
    rot(kept(root, md5))
    paths.model.write_bytes(kept(root, md5).read_bytes())  # as `dvc checkout` does
    assert "its weights are not those that were exported" in dvc_lock.untrue(paths)["export"]
    assert dvc_lock.distrust(paths, "export")
    assert not kept(root, md5).exists()


def test_a_note_of_dvcs_that_can_be_read_stays(root: Path) -> None:
    note = root / ".dvc" / "tmp" / "rwlock"
    assert not forget_cut_note(root)
    note.parent.mkdir()
    note.write_text('{"write": {}}')
    assert not forget_cut_note(root)
    assert note.exists()
    note.write_text("")
    assert forget_cut_note(root)
    assert not note.exists()


def test_a_note_of_a_dead_process_holds_nobody_up(root: Path) -> None:
    (root / "images").mkdir()
    (root / "images" / "0.png").write_bytes(b"0")
    dead = subprocess.Popen(["true"])
    dead.wait()
    who = {"pid": dead.pid, "cmd": "dvc add images"}
    note = root / ".dvc" / "tmp" / "rwlock"
    note.parent.mkdir()
    place = str(root / "images")
    note.write_text(json.dumps({"write": {place: who}, "read": {place: [who]}}))
    assert Tracked(root, "images").add().endswith(".dir")
    assert str(dead.pid) not in note.read_text()


def _bytes(file: Path) -> bytes:
    return file.read_bytes() if file.is_file() else b""

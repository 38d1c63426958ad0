"""A file that is a link is replaced before it is written to, and only the link is removed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from monge import cli
from monge.data.replacement import FolderReplacement
from monge.errors import StorageError
from monge.files import detach, remove, storing
from monge.training.watch.history import History


def link(kind: str, path: Path, target: Path) -> None:
    if kind == "symlink":
        path.symlink_to(target)
    else:
        path.hardlink_to(target)


@pytest.mark.parametrize("kind", ["symlink", "hardlink"])
def test_a_link_becomes_a_file_of_its_own(tmp_path: Path, kind: str) -> None:
    cached, path = tmp_path / "cached", tmp_path / "path"
    cached.write_text("a")
    cached.chmod(0o444)
    link(kind, path, cached)
    detach(path)
    with path.open("a") as file:
        file.write("b")
    assert (path.read_text(), cached.read_text()) == ("ab", "a")
    assert not path.is_symlink()
    assert path.stat().st_nlink == cached.stat().st_nlink == 1


def test_what_is_ones_own_already_is_left_alone(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("a")
    before = own.stat()
    detach(own)
    detach(tmp_path / "absent")
    assert own.stat() == before
    assert os.listdir(tmp_path) == ["own"]


def test_a_protected_file_and_a_link_to_nothing_can_be_written(tmp_path: Path) -> None:
    protected, lost = tmp_path / "protected", tmp_path / "lost"
    protected.write_text("a")
    protected.chmod(0o444)
    lost.symlink_to(tmp_path / "nothing")
    for path in (protected, lost):
        detach(path)
        with path.open("a") as file:
            file.write("b")
    assert (protected.read_text(), lost.read_text()) == ("ab", "b")
    assert protected.stat().st_mode & 0o200
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("kind", ["symlink", "hardlink"])
def test_a_curve_that_is_linked_during_the_training_leaves_the_cache_alone(
    tmp_path: Path, kind: str
) -> None:
    history, cached = History(tmp_path, 0, "estimate"), tmp_path / "cached"
    history.append(1, {"estimate": 1.0})
    history.path.rename(cached)
    link(kind, history.path, cached)
    history.append(2, {"estimate": 2.0})
    assert [line.split(",")[0] for line in history.path.read_text().splitlines()] == [
        "step", "1", "2",
    ]  # fmt: skip
    assert len(cached.read_text().splitlines()) == 2


def test_removing_a_link_leaves_what_it_names(tmp_path: Path) -> None:
    folder, file = tmp_path / "folder", tmp_path / "folder" / "file"
    folder.mkdir()
    file.write_text("a")
    (tmp_path / "to folder").symlink_to(folder)
    (tmp_path / "to file").symlink_to(file)
    (tmp_path / "to nothing").symlink_to(tmp_path / "nothing")
    (tmp_path / "holder").mkdir()
    (tmp_path / "holder" / "inner").symlink_to(folder)
    for name in ("to folder", "to file", "to nothing", "holder", "absent"):
        remove(tmp_path / name)
    assert os.listdir(tmp_path) == ["folder"]
    assert file.read_text() == "a"
    remove(folder)
    assert not folder.exists()


def test_a_dataset_behind_a_link_is_replaced_and_what_was_there_stays(tmp_path: Path) -> None:
    large, place = tmp_path / "large", tmp_path / "prepared"
    large.mkdir()
    (large / "old").write_text("a")
    place.symlink_to(large)
    for text in ("b", "c"):
        with FolderReplacement(place) as replacement:
            (replacement.partial / "new").write_text(text)
            replacement.commit()
        assert (place / "new").read_text() == text
        assert sorted(os.listdir(tmp_path)) == ["large", "prepared"]
    assert not place.is_symlink()
    assert (large / "old").read_text() == "a"
    replacement.partial.symlink_to(large)  # what an older monge left
    with FolderReplacement(place) as replacement:
        replacement.commit()
    assert (large / "old").read_text() == "a"


@pytest.mark.parametrize("kind", ["symlink", "hardlink"])
def test_a_link_that_may_not_be_written_through_is_told_to_become_a_file(
    tmp_path: Path, kind: str
) -> None:
    cached, path = tmp_path / "cached", tmp_path / "path"
    cached.write_text("a")
    link(kind, path, cached)

    def told(path: Path, number: int) -> list[str]:
        error = OSError(number, os.strerror(number), str(path))
        with pytest.raises(StorageError) as why, storing(path):
            raise error
        return [str(why.value), str(cli._of_file(error))]

    for number in (errno.EACCES, errno.EPERM, errno.EROFS):
        for line in told(path, number):
            assert f"`dvc unprotect {path}` makes it a file" in line
            assert "allow" not in line
    if kind == "hardlink":
        path.unlink()
    for line in [*told(path, errno.ENOSPC), *told(cached, errno.EACCES)]:
        assert "Free space or allow" in line
        assert "unprotect" not in line

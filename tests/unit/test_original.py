"""A temporary copy that DVC made for an experiment is told from any other folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from monge.original import original
from monge.paths import Paths


@pytest.fixture(autouse=True)
def _outside_of_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_ROOT", raising=False)


def repository(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


def copy_of(project: Path, kind: str = "standalone") -> Path:
    return repository(project / ".dvc" / "tmp" / "exps" / kind / "tmp0a1b2c")


@pytest.mark.parametrize("kind", ["standalone", "celery", ""])
def test_a_copy_remembers_in_its_project_and_locks_in_itself(tmp_path: Path, kind: str) -> None:
    project = repository(tmp_path / "a project")
    copy = copy_of(project, kind)
    assert original(copy) == project
    assert Paths(copy).state == Paths(copy).cost.parent == project / ".monge"
    assert Paths(copy).own_state == Paths(copy).promotion.parent == copy / ".monge"
    assert Paths(copy).checkpoints == copy / "checkpoints"


def test_a_copys_copy_belongs_to_the_first_project(tmp_path: Path) -> None:
    project = repository(tmp_path / "project")
    assert original(copy_of(copy_of(project), "celery")) == project


@pytest.mark.parametrize("dvc_in", ["", "part", "part/inner"])
def test_a_project_in_a_folder_of_the_repository_is_found_wherever_dvc_was_set_up(
    tmp_path: Path, dvc_in: str
) -> None:
    project = repository(tmp_path / "whole") / "part" / "inner"
    project.mkdir(parents=True)
    copy = copy_of(tmp_path / "whole" / dvc_in)
    (copy / "part" / "inner").mkdir(parents=True)
    assert original(copy / "part" / "inner") == project


def test_a_link_to_a_larger_disk_is_seen_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = repository(tmp_path / "project")
    (project / ".dvc").mkdir()
    (tmp_path / "large" / "tmp").mkdir(parents=True)
    (project / ".dvc" / "tmp").symlink_to(tmp_path / "large" / "tmp")
    copy = copy_of(project)
    assert original(copy) == copy.resolve(), "nothing tells it from any other folder"
    monkeypatch.setenv("DVC_ROOT", str(project))
    assert original(copy) == project
    assert original(tmp_path) == tmp_path


def test_what_is_no_copy_is_its_own_project(tmp_path: Path) -> None:
    project = repository(tmp_path / "project")
    unpacked = project / ".dvc" / "tmp" / "exps" / "mine"
    unpacked.mkdir(parents=True)
    for folder in (project, unpacked, repository(tmp_path / "exps" / "tmp1"), tmp_path / "absent"):
        assert original(folder) == folder
    link = tmp_path / "link"
    link.symlink_to(project)
    assert original(link) == project

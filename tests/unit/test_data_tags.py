"""Protects: a run and a version say by DVC's hash, and by a commit, which images they are of."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from monge.params import Params
from monge.paths import Paths
from monge.stages import lineage

RAW, PREPARED, OTHER = (f"{digits * 4}.dir" for digits in ("0123abcd", "4567cdef", "89abcdef"))
LOCK = f"""
stages:
  prepare:
    cmd: monge prepare
    deps:
    - {{path: data/raw, md5: {RAW}}}
    outs:
    - {{path: data/prepared, md5: {PREPARED}}}
"""


def git(folder: Path, *arguments: str) -> str:
    told = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments]
    return subprocess.run(told, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "dvc.lock").write_text(LOCK)
    (tmp_path / "data/raw").mkdir(parents=True)
    (tmp_path / "data/raw.dvc").write_text(f"outs: [{{md5: {RAW}, path: raw}}]\n")
    (tmp_path / "code.py").write_text("1")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "Data")
    return tmp_path


def test_the_commit_is_that_of_the_images_and_not_of_the_code(project: Path) -> None:
    params = Params.model_validate({"prepare": {"source": "folder"}})
    data = git(project, "rev-parse", "HEAD").strip()
    (project / "code.py").write_text("2")
    git(project, "commit", "--quiet", "--all", "--message", "Code")
    wanted = {
        "dvc.data/raw": RAW, "dvc.data/prepared": PREPARED,
        "monge.data_revision": data,
    }  # fmt: skip
    assert lineage.data_tags(params, Paths(project)) == wanted
    (project / "data/raw.dvc").write_text(f"outs: [{{md5: {OTHER}, path: raw}}]\n")
    changed = lineage.data_tags(params, Paths(project))
    assert changed["monge.data_revision"] == f"{data}+changed"


def test_images_in_git_itself_are_found_and_an_experiment_has_its_name(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "muddy-boots")
    (project / "mine").mkdir()
    (project / "mine/0.png").write_bytes(b"0")
    params = Params.model_validate({"prepare": {"source": "folder", "path": "mine"}})
    assert "monge.data_revision" not in lineage.data_tags(params, Paths(project))
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "Mine")
    tags = lineage.data_tags(params, Paths(project))
    assert tags["monge.data_revision"] == git(project, "rev-parse", "HEAD").strip()
    assert tags["monge.experiment"] == "muddy-boots"


def test_without_git_only_the_hashes_are_known(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text(LOCK)
    params = Params.model_validate({"prepare": {"source": "folder"}})
    assert lineage.data_tags(params, Paths(tmp_path)) == {
        "dvc.data/raw": RAW, "dvc.data/prepared": PREPARED,
    }  # fmt: skip

"""Protects: what cannot be a version is refused with the way; what is one gets to the remote."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from monge import stages
from monge.errors import EnvironmentFault, InputError, MissingExtra, SourceError
from monge.params import Params, PrepareParams
from monge.paths import Paths
from monge.versions import dvc


def add(root: Path, images: Path, **prepare: object) -> list[str]:
    params = Params(prepare=PrepareParams.model_validate(prepare))
    return list(stages.data_add(params, Paths(root), images=images))


def test_what_cannot_be_a_version_is_refused_with_the_way(tmp_path):
    root, images = tmp_path / "project", tmp_path / "images"
    root.mkdir()
    images.mkdir()
    with pytest.raises(InputError, match=r"prepare\.source is digits.*prepare\.source: folder"):
        add(root, images)
    with pytest.raises(InputError, match=f"outside of this project.*monge data add {images}"):
        add(root, images, source="folder", path=str(images))
    with pytest.raises(SourceError, match="no such folder or archive"):
        add(root, tmp_path / "none", source="folder")
    (images / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(SourceError, match=r"1 of 1 images cannot be read: bad\.png"):
        add(root, images, source="folder")
    assert not (root / "data" / "versions.jsonl").exists()


def remote(root: Path, address: object) -> None:
    text = f"[core]\n    analytics = false\n    remote = r\n['remote \"r\"']\n    url = {address}\n"
    (root / ".dvc" / "config").write_text(text)


def test_a_version_is_kept_while_the_remote_is_away_and_sent_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, images, there = tmp_path / "project", tmp_path / "images", tmp_path / "remote"
    (root / ".dvc").mkdir(parents=True)
    images.mkdir()
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    Image.new("RGB", (9, 9), "red").save(images / "red.png")
    there.write_text("no folder yet")
    remote(root, there / "monge")
    with pytest.raises(EnvironmentFault) as away:
        add(root, images, source="folder")
    (line,) = str(away.value).splitlines()
    assert line.startswith("the version is kept here and not sent to the remote yet: dvc push ")
    assert line.endswith("The same command sends it.")
    assert len((root / "data" / "versions.jsonl").read_text().splitlines()) == 1

    there.unlink()
    remote(root, there / "monge")
    assert add(root, images, source="folder")[-1] == "sent to DVC's remote"
    kept = {file.name for file in (root / ".dvc/cache/files/md5").rglob("*") if file.is_file()}
    sent = {file.name for file in there.rglob("*") if file.is_file()}
    assert sent == kept != set()

    remote(root, "s3://bucket/monge")
    (tmp_path / "without" / "dvc_s3").mkdir(parents=True)
    (tmp_path / "without" / "dvc_s3" / "__init__.py").write_text("raise ImportError\n")
    searched = f"{tmp_path / 'without'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    monkeypatch.setenv("PYTHONPATH", searched)
    with pytest.raises(MissingExtra, match=r"needs more than .*: pip install 'monge\[servers\]'"):
        dvc.run(root, "push", "data/raw.dvc")

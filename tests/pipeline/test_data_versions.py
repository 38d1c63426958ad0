"""Protects: images that are added make a version, whole or not at all, that can be brought back."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.pipeline.conftest import Project

FOLDER = ("--set", "prepare.source=folder")


@pytest.fixture
def own(project) -> Project:
    """A project with 12 images of two classes of its own in data/raw, committed to git."""
    draw(project.folder / "data" / "raw" / "cat", range(6))
    draw(project.folder / "data" / "raw" / "dog", range(10, 16))
    for name, value in (("user.name", "Ann"), ("user.email", "ann@example.com")):
        project.run("git", "config", name, value)
    project.run("git", "add", "params.yaml", "dvc.yaml", ".dvc", "data/raw/README.md")
    project.run("git", "commit", "--quiet", "-m", "before")
    return project


@pytest.fixture
def fresh(tmp_path) -> Path:
    """Four new images of a known class, three of a new one, and what is to be left aside."""
    draw(tmp_path / "new" / "cat", range(20, 24))
    draw(tmp_path / "new" / "fish", range(30, 33))
    again = Image.open(tmp_path / "new" / "fish" / "30.png")
    again.save(tmp_path / "new" / "fish" / "other-name.bmp")
    nearly = np.asarray(Image.open(tmp_path / "new" / "fish" / "31.png")).copy()
    nearly[0, 0, 0] ^= 1
    Image.fromarray(nearly).save(tmp_path / "new" / "fish" / "nearly.png")
    draw(tmp_path / "new" / "dog", range(10, 11))  # in data/raw already
    (tmp_path / "new" / "cat" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    return tmp_path / "new"


def draw(folder: Path, seeds: range) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        pixels = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed}.png")


def test_the_first_images_of_a_fresh_checkout_are_added(project: Project, fresh: Path) -> None:
    """Where data/raw has nothing but its note, which git has."""
    project.run("git", "add", "data/raw/README.md")
    said = data(project, "add", fresh / "cat").stdout
    assert "version 1: 4 images" in said
    assert (project.folder / "data" / "raw" / "README.md").exists()


def data(project: Project, *command: object, check: bool = True) -> subprocess.CompletedProcess:
    return project.run("monge", "data", *command, *FOLDER, check=check)


def bytes_of(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def versions(project: Project) -> list[dict]:
    lines = (project.folder / "data" / "versions.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_what_is_added_is_a_version_that_can_be_brought_back_byte_for_byte(own, fresh):
    raw = own.folder / "data" / "raw"
    before = bytes_of(raw)
    told = data(own, "add", fresh).stdout
    # Of 10 that can be read: dog/10 is there, fish/30 is there twice, one is like another.
    first, second = versions(own)
    assert (first["images"], second["images"]) == (12, 20)
    assert second["classes"] == {"cat": 10, "dog": 6, "fish": 4}
    assert second["added"] == {
        "source": str(fresh), "images": 8, "classes": {"cat": 4, "fish": 4}, "duplicates": 2,
        "near": 1, "rejected": 1,
    }  # fmt: skip
    assert second["by"] == "Ann"
    assert "cat/bad.png" in told
    assert "README.md: out of git" in told
    assert own.run("dvc", "status").stdout.count("data/raw.dvc") == 0

    after = bytes_of(raw)
    assert "nothing new" in data(own, "add", fresh).stdout
    assert len(versions(own)) == 2
    assert bytes_of(raw) == after

    own.run("git", "add", "data")
    own.run("git", "commit", "--quiet", "-m", "more")
    commit = own.run("git", "rev-parse", "--short", "HEAD").stdout.strip()
    assert f"by Ann, commit {commit}" in data(own, "log").stdout
    assert "monge data checkout 2" in data(own, "checkout", "1").stdout
    assert bytes_of(raw) == before
    data(own, "checkout", "2")
    assert bytes_of(raw) == after

    (raw / "cat" / "0.png").unlink()
    refused = data(own, "checkout", "1", check=False)
    assert refused.returncode == 2
    assert "in no version" in refused.stdout
    assert "monge data add data/raw" in refused.stdout
    data(own, "add", "data/raw")
    assert versions(own)[-1]["classes"]["cat"] == 9


_KILLED = """
import os, signal, sys
from pathlib import Path
from monge import stages
from monge.params import load
from monge.paths import Paths
from monge.versions import packing, records
module, name, done = {place!r}
module = dict(packing=packing, records=records)[module]
real = getattr(module, name)
def dies(*arguments, **more):
    global done
    if done:
        real(*arguments, **more)
    if not done or module is packing:
        os.kill(os.getpid(), signal.SIGKILL)
    done -= 1
setattr(module, name, dies)
params = load("params.yaml", ["prepare.source=folder"])
for line in stages.data_add(params, Paths(Path.cwd()), images=Path(sys.argv[1])):
    pass
"""


@pytest.mark.parametrize(
    ("place", "is_new"),
    [
        (("packing", "settle", 0), False),
        (("packing", "settle", 1), True),
        (("records", "append", 1), True),  # the second record: the first is of what was there
    ],
    ids=["before it has its place", "once it is there", "before its record"],
)
def test_a_killed_addition_is_there_whole_or_not_at_all(own, fresh, place, is_new):
    raw = own.folder / "data" / "raw"
    old = set(bytes_of(raw))
    killed = own.run(sys.executable, "-c", _KILLED.format(place=place), fresh, check=False)
    assert killed.returncode == -signal.SIGKILL
    added = set(bytes_of(raw)) - old
    assert len(added) == is_new
    if is_new:
        with tarfile.open(raw / added.pop()) as archive:
            assert len(archive.getnames()) == 8
    told = data(own, "log").stdout
    assert ("went on with an addition that was interrupted: version 2" in told) == is_new
    assert [each["images"] for each in versions(own)] == ([12, 20] if is_new else [12])
    assert f"version {1 + is_new}, here" in told


def test_without_git_a_version_is_found_by_its_record(own, fresh):
    shutil.rmtree(own.folder / ".git")
    data(own, "add", fresh)
    assert data(own, "log").stdout.count("in no commit yet") == 2


def test_an_archive_gets_a_new_version_of_its_own_kind(own, fresh):
    raw = own.folder / "data" / "raw"
    shutil.make_archive(str(own.folder / "data" / "pictures"), "gztar", raw)
    archive = own.folder / "data" / "pictures.tar.gz"
    flags = ("--set", "prepare.source=archive", "--set", "prepare.path=data/pictures.tar.gz")
    own.run("monge", "data", "add", fresh, *flags)
    with tarfile.open(archive, "r:gz") as packed:
        assert sum("additions/0001-" in name for name in packed.getnames()) == 8
    own.run("monge", "prepare", *flags)
    manifest = json.loads((own.folder / "data" / "prepared" / "manifest.json").read_text())
    assert manifest["class_names"] == ["cat", "dog", "fish"]
    assert sum(split["count"] for split in manifest["splits"].values()) == 20

"""Protects: what DVC links into the workspace is replaced, and its cache keeps every byte."""

import csv
import hashlib

import pytest

from tests.pipeline.test_experiments import TINY

pytestmark = pytest.mark.timeout(600)


def damaged(project):
    """The files of the cache that are not what their names, their MD5, say."""
    cache = project.folder / ".dvc/cache/files/md5"
    files = [path for path in cache.glob("??/*") if path.is_file()]
    assert len(files) > 10
    return [
        path for path in files
        if hashlib.md5(path.read_bytes()).hexdigest() != path.parent.name + path.stem
    ]  # fmt: skip


def steps(folder):
    with (folder / "history.csv").open(newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("kind", ["symlink", "hardlink"])
def test_stages_that_are_run_by_hand_write_through_no_link(project, kind):
    tiny = ["--set", "train.learning_rate_decay=none"]
    tiny += [part for change in TINY for part in ("--set", change)]
    for stage in ("prepare", "train", "export", "evaluate"):
        project.run("monge", stage, *tiny, MONGE_TRACKING="off")
    project.run("dvc", "config", "cache.type", kind)
    parts = ("data/prepared", "checkpoints", "models/generator.onnx", "reports/pictures")
    project.run("dvc", "commit", "--force")
    project.run("dvc", "checkout", "--relink", "--force")
    for path in (project.folder / part for part in parts):
        for file in [path] if path.is_file() else [p for p in path.rglob("*") if not p.is_dir()]:
            linked = file.is_symlink() if kind == "symlink" else file.stat().st_nlink > 1
            assert linked, f"{file} is no {kind}"
    assert not damaged(project)
    checkpoints = project.folder / "checkpoints"
    moved = next(checkpoints.glob("step-*10"))
    outside = moved.rename(project.folder / "elsewhere")
    moved.symlink_to(outside, target_is_directory=True)

    more = [*tiny, "--set", "train.steps=50", "--set", "train.keep_checkpoints=1"]
    project.run("monge", "train", *more, MONGE_TRACKING="off")
    assert steps(checkpoints) == list(range(5, 51, 5)), "it did not go on from the linked files"
    assert steps(checkpoints)[-1] == 50
    assert not damaged(project)
    assert (outside / "tensors.safetensors").exists(), "a link's folder was emptied"
    for stage in ("export", "evaluate", "prepare"):
        project.run("monge", stage, *more, MONGE_TRACKING="off")
    fresh = project.run("monge", "train", "--fresh", *tiny, MONGE_TRACKING="off")
    assert steps(checkpoints) == [5, 10, 15, 20], fresh.stdout
    assert not damaged(project)

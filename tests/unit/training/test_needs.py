"""Protects: what a dataset lacks is said before the training, not by a traceback after it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monge import stages
from monge.data.writer import PackedWriter
from monge.errors import DatasetError, InputError
from monge.params import load
from monge.paths import Paths

MONGE = Path(sys.executable).parent / "monge"
ROOT = Path(__file__).parents[3]
TINY = [
    "train.steps=3", "train.batch_size=4", "train.mlp.depth=1", "train.mlp.width=4",
    "train.latent_dim=4", "evaluate.images=50", "evaluate.transport_images=10",
    "evaluate.repeats=2", "evaluate.projections=4", "train.device=cpu",
]  # fmt: skip


def monge(*arguments, cwd):
    return subprocess.run(
        [str(MONGE), *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=400,
        env=os.environ | {"MONGE_TRACKING": "off", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("MONGE_TRACKING", "off")
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    return tmp_path


def pictures(folder, count, size=8):
    folder.mkdir()
    dice = np.random.default_rng(count)
    for number in range(count):
        pixels = dice.integers(0, 256, (size, size), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def packed(folder, shape, train=30):
    """A dataset that another program wrote: it says nothing of `prepare`."""
    with PackedWriter(folder, shape) as writer:
        writer.append("train", np.zeros((train, *shape), np.uint8))
        writer.append("validation", np.zeros((5, *shape), np.uint8))
        writer.finish()


@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["train", "dry run"])
def test_one_image_to_train_on_is_refused_with_how_many_are_needed(project, dry):
    pictures(project / "pics", 2)
    own = ("--set", "prepare.source=folder", "--set", "prepare.path=pics")
    assert monge("prepare", *own, cwd=project).returncode == 0
    done = monge("train", *dry, *own, cwd=project)
    assert done.returncode == 2
    assert "data/prepared: 1 image to train on, and at least 2 are needed" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (project / "checkpoints").exists()


def test_three_images_go_through_to_the_report(project):
    pictures(project / "pics", 3)
    params = load(project / "params.yaml", ["prepare.source=folder", "prepare.path=pics", *TINY])
    for stage in ("prepare", "train", "export", "evaluate"):
        getattr(stages, stage)(params, Paths(project))


@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["train", "dry run"])
@pytest.mark.parametrize("shape", [(1, 36, 36), (3, 17, 32)])
def test_a_size_that_the_net_cannot_draw_is_one_line(project, dry, shape):
    packed(project / "data/prepared", shape)
    done = monge("train", *dry, "--set", "train.net=dcgan", cwd=project)
    assert done.returncode == 2
    height, width = shape[1:]
    told = f"train.net: dcgan has no network for the images of {width}x{height} pixels"
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["train", "dry run"])
def test_images_of_another_size_than_the_files_are_refused_by_both(project, dry):
    assert monge("prepare", "--set", "prepare.resolution=48", cwd=project).returncode == 0
    done = monge("train", *dry, "--set", "train.net=dcgan", cwd=project)
    assert done.returncode == 2
    assert "prepare.resolution: 48 was used, 8 is asked for" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_classifier_for_images_without_classes_is_refused_before_the_training(project):
    packed(project / "data/prepared", (1, 8, 8))
    params = load(project / "params.yaml", [*TINY, "evaluate.features=classifier"])
    with pytest.raises(InputError, match="classifier needs images with classes"):
        stages.train(params, Paths(project))


def test_packed_images_that_the_disk_has_changed_are_not_trained_on(project):
    packed(project / "data/prepared", (1, 8, 8))
    file = project / "data/prepared/train.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(DatasetError, match=r"train\.npy has changed .* Run `monge prepare`"):
        stages.train(load(project / "params.yaml", TINY), Paths(project))
    assert not (project / "checkpoints").exists()

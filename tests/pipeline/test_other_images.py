"""Protects: a person's own folder and a real archive of photographs go through the whole chain."""

import io
import json
import os
import re
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.timeout(600)

QUICK = (
    "prepare.colour=rgb", "train.net=dcgan", "train.objective=wgan-gp",
    "train.wgan-gp.learning_rate=1e-4", "train.steps=4", "train.dcgan.features=4",
    "train.latent_dim=16", "train.checkpoint_every=2", "train.log_every=1", "evaluate.images=200",
    "evaluate.transport_images=40", "evaluate.repeats=2", "evaluate.projections=16",
    "evaluate.features=random", "promote.name=mine",
)  # fmt: skip


def contract(project):
    import onnxruntime

    session = onnxruntime.InferenceSession(
        project.folder / "models/generator.onnx", providers=["CPUExecutionProvider"]
    )
    return json.loads(session.get_modelmeta().custom_metadata_map["monge.contract"])


def test_a_folder_of_72_pixel_rgba_pngs_is_drawn_at_64_and_by_its_classes(project):
    dice = np.random.default_rng(0)
    for i in range(80):
        pixels = dice.integers(0, 256, (72, 72, 4), dtype=np.uint8)
        place = project.folder / "data/raw" / ("cats" if i % 2 else "dogs") / f"{i}.png"
        place.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels, "RGBA").save(place)
    cut = project.folder / "data/raw/cats/cut.jpg"
    picture = io.BytesIO()
    Image.new("RGB", (72, 72)).save(picture, "JPEG")
    cut.write_bytes(picture.getvalue()[:-200])
    changes = ("prepare.source=folder", "prepare.resolution=64",
               "prepare.max_rejected_fraction=0.05", "train.conditional=true")  # fmt: skip
    output = project.retrain(*changes, *QUICK).stdout
    assert "none. Not promoted: frechet is not nearer to the real pictures than" in output
    assert contract(project)["image_shape"] == [64, 64, 3]
    manifest = json.loads((project.folder / "data/prepared/manifest.json").read_text())
    assert manifest["class_names"] == ["cats", "dogs"]
    assert "cut.jpg" in json.dumps(manifest["rejected"])
    assert sum(contract(project)["label_shares"]) == pytest.approx(1.0)
    sample = ("monge", "sample", "models:/mine@challenger", "-n", 3)
    project.run(*sample, "--label", "cats", "-o", "three")
    refused = project.run(*sample, "--label", "cow", check=False)
    assert refused.returncode == 2
    assert "no class is called 'cow'. There are: cats, dogs." in refused.stdout
    pictures = sorted(path.name for path in (project.folder / "three").iterdir())
    assert pictures == ["00000.png", "00001.png", "00002.png"]


def archive_like_cifar(path):
    """32-pixel JPEGs under train/<class>/ and test/<class>/, when the real ones are not here."""
    dice = np.random.default_rng(0)
    with tarfile.open(path, "w:xz") as tar:
        for split, count in (("train", 300), ("test", 60)):
            for i in range(count):
                data = io.BytesIO()
                pixels = dice.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(data, "JPEG")
                member = tarfile.TarInfo(f"{split}/class{i % 3}/{i}.jpg")
                member.size = data.tell()
                data.seek(0)
                tar.addfile(member, data)
    return path


def without_git(project, programs):
    """Make a source archive of a project: no repository. The PATH of a machine without git."""
    shutil.rmtree(project.folder / ".git")
    programs.mkdir()
    for place in project.environment["PATH"].split(os.pathsep):
        for program in Path(place).glob("*"):
            link = programs / program.name
            if not (program.name.startswith("git") or link.is_symlink()):
                link.symlink_to(program)
    assert shutil.which("git", path=programs) is None
    return str(programs)


def test_an_archive_of_photographs_goes_through_also_without_git(project, tmp_path):
    real = os.environ.get("MONGE_CIFAR_ARCHIVE")
    if not real:
        print("no MONGE_CIFAR_ARCHIVE: an archive made here stands in for the photographs")
    place = real or archive_like_cifar(project.folder / "data/raw/made.tar.xz")
    changes = ("prepare.source=archive", f"prepare.path={place}", "prepare.resolution=32")
    path = without_git(project, tmp_path / "programs")
    output = project.retrain(*changes, *QUICK, PATH=path).stdout
    assert "none. Not promoted: frechet is not nearer to the real pictures than" in output
    assert not re.search(r"\bgit\b", output)
    assert contract(project)["image_shape"] == [32, 32, 3]
    assert contract(project)["git_revision"] is None
    assert not (project.folder / ".dvc" / "config.local").exists(), "a later `git init` is seen"
    manifest = json.loads((project.folder / "data/prepared/manifest.json").read_text())
    counts = {name: split["count"] for name, split in manifest["splits"].items()}
    assert counts == ({"train": 50000, "validation": 10000} if real else
                      {"train": 300, "validation": 60})  # fmt: skip

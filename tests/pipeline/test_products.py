"""Protects: one line takes any folder to a champion, and products do not disturb each other."""

import io
import re
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from PIL import Image, ImageDraw

from monge.params import auto
from tests.pipeline.conftest import TINY

pytestmark = pytest.mark.timeout(600)

# What is chosen is chosen by the packed images and a timing; how much is judged only takes time.
QUICK = (
    "train.latent_dim=8", "train.mlp.depth=2", "train.mlp.width=16", "train.steps=60",
    "evaluate.images=60", "evaluate.transport_images=20", "evaluate.repeats=2",
    "evaluate.projections=8", "evaluate.features=pixels",
)  # fmt: skip

ICONS = "it-s-my-home-1-uni"
"""The name that is made of that of their folder."""


def flags(*changes):
    return [part for change in changes for part in ("--set", change)]


def drawing(index, mode, ground, ink):
    image = Image.new(mode, (40, 30), ground)
    box = (8 + index % 5, 5, 25 + index % 7, 25)
    ImageDraw.Draw(image).ellipse(box, outline=ink, width=2)
    return image


@pytest.fixture
def icons(tmp_path):
    place = tmp_path / 'it\'s "my" $HOME #1 ünï'
    for i in range(80):
        file = place / ("round" if i % 2 else "flat") / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        drawing(i, "RGBA", (0, 0, 0, 0), (200, 40 + i, 90, 255)).save(file)
    return place


@pytest.fixture
def drawings(tmp_path):
    file = tmp_path / "My Drawings.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for i in range(80):
            encoded = io.BytesIO()
            drawing(i, "L", 255, 0).save(encoded, "PNG")
            archive.writestr(f"sketches/page {i // 20}/{i}.png", encoded.getvalue())
    return file


def test_two_sets_go_from_one_line_each_to_champions_and_stay_apart(project, icons, drawings):
    ready(project)
    one_line = ("make", "run", f"IMAGES={icons}", "MINUTES=1")
    made = project.run(*one_line, f"SET={' '.join(QUICK)} train.dcgan.features=8").stdout
    assert "prepare.fit                  pad        nothing of an icon is cut off" in made
    assert re.search(rf"({ICONS} version 1|none)\. (Not p|P)romoted: ", made)  # after so few steps
    place = project.folder / "products" / ICONS
    params = yaml.safe_load((place / "params.yaml").read_text())
    assert auto.unchosen(params) == []
    assert params["prepare"]["colour"] == "rgba"
    assert params["train"]["steps"] == 60
    assert not (project.folder / "checkpoints").exists()
    assert (project.folder / "mlflow.db").exists()
    assert not (place / "mlflow.db").exists()

    made = project.run(
        "monge", "new", "sketches", drawings, "--minutes", 1, *flags(*QUICK, "train.net=mlp")
    ).stdout
    assert re.search(r"(sketches version 1|none)\. (Not p|P)romoted: ", made)
    listed = project.run("monge", "models").stdout
    assert ICONS in listed
    assert "sketches" in listed
    assert project.run("monge", "models", "sketches").stdout.count("version") == 1

    again = project.run("make", "run", f"PRODUCT={ICONS}").stdout
    for stage in ("prepare", "train", "export", "evaluate"):
        assert f"Stage '{stage}' didn't change, skipping" in again
    by_dvc = project.run("sh", "-c", "cd products/sketches && dvc repro").stdout
    assert "didn't change" in by_dvc
    assert "Running stage" not in by_dvc
    drawn = project.run("monge", "sample", "models:/sketches@challenger", "-n", 2, "-o", "two.png")
    assert "two.png" in drawn.stdout


def test_what_is_not_chosen_is_refused_by_a_stage_and_chosen_on_request(project, icons):
    made = project.run("monge", "new", "icons", icons, "--no-run", *flags(*QUICK)).stdout
    assert "run it with: make run PRODUCT=icons" in made
    refused = project.run("monge", "-C", "products/icons", "prepare", check=False)
    assert refused.returncode == 2
    assert "prepare.colour: auto is filled in by `monge choose`" in refused.stdout
    chosen = project.run("monge", "-C", "products/icons", "choose").stdout
    assert "prepare.background           #ffffff    behind transparent pixels" in chosen
    assert "packed" in project.run("monge", "-C", "products/icons", "prepare").stdout
    chosen = project.run("monge", "-C", "products/icons", "choose", "--minutes", 1).stdout
    assert "train.wgan-gp.learning_rate" in chosen
    assert "train.steps" not in chosen  # that was given
    nothing = project.run("monge", "-C", "products/icons", "choose").stdout
    assert "nothing is auto" in nothing


def test_names_are_checked_before_anything_is_done(project, icons, drawings):
    project.run("monge", "new", "mine", icons, "--no-run")
    other = project.run("monge", "new", "mine", drawings, "--no-run", check=False)
    assert other.returncode == 2
    assert "products/mine is of other images" in other.stdout
    again = project.run("monge", "new", "mine", icons, "--no-run").stdout
    assert "products/mine is there already" in again
    gone = project.run("monge", "new", "x", icons / "none", check=False)
    assert gone.returncode == 2
    assert "no such folder or archive" in gone.stdout
    device = project.run("monge", "new", "x", "/dev/null", check=False)
    assert (device.returncode, "no such folder or archive" in device.stdout) == (2, True)
    wrong = project.run("monge", "new", "x", icons, "--set", "train.step=3", check=False)
    assert wrong.returncode == 2
    assert "train.steps" in wrong.stdout
    assert not (project.folder / "products" / "x").exists()
    ready(project)
    unknown = project.run("make", "run", "PRODUCT=dogs", check=False)
    assert "no product is called dogs. There are: mine" in unknown.stdout


def test_a_name_of_other_images_is_refused_before_the_training(project, icons):
    """In one folder, as before there were products: the digits' name for a person's own images."""
    project.retrain(*TINY)
    icons.rename(project.folder / "pictures")
    own = ("prepare.source=folder", "prepare.path=pictures", "prepare.resolution=16")
    project.run("monge", "prepare", *flags(*own))
    train = ("monge", "train", "--if-changed", "fresh", *flags(*own, *TINY))
    refused = project.run(*train, check=False)
    assert refused.returncode == 2
    assert "tiny version 1 draws 8x8 grey images" in refused.stdout
    assert "promote.name=tiny-2" in refused.stdout


def ready(project):
    """Copy what `make` runs from, with an environment that is made already."""
    for name in ("Makefile", "requirements.lock", "requirements-uv.lock"):
        shutil.copy(project.root() / name, project.folder)
    (project.folder / ".venv").symlink_to(Path(sys.prefix))
    (project.folder / ".venv" / "ready").touch()

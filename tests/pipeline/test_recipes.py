"""Protects: CONTRIBUTING's recipes are all that it takes to add a method, a net, and so on.

A small one of each is added to one copy of the project, by the recipe and nothing else, and run
through the chain.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from monge.data.packed import PackedDataset
from monge.operators import check_operators
from monge.serving.sampler import Sampler
from tests.pipeline.conftest import Project
from tests.pipeline.recipes.edits import EDITS
from tests.pipeline.test_lock import _wait_for, run, setting

pytestmark = pytest.mark.timeout(300)

ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
RECIPES = Path(__file__).parent / "recipes"
CHAIN = {
    "prepare": {"source": "stripes", "inverted": True, "workers": 1},
    "train": {
        "net": "smooth", "objective": "lsgan", "steps": 20, "batch_size": 8, "latent_dim": 4,
        "log_every": 10, "grid_every": 20, "quality_every": 20, "checkpoint_every": 20,
        "lsgan": {"learning_rate": 1e-3, "critic_steps": 2}, "smooth": {"width": 8},
    },
    "evaluate": {"images": 60, "transport_images": 20, "repeats": 2, "projections": 4,
                 "features": "pixels"},
}  # fmt: skip


def added(recipe: str, folder: Path) -> set[str]:
    """Do as the recipe says in a project's folder; the files that this touched."""
    touched = set()
    for file in (RECIPES / recipe).rglob("*.py"):
        place = file.relative_to(RECIPES / recipe)
        assert not (folder / place).exists(), f"{place} is there already"
        shutil.copy(file, folder / place)
        touched.add(place.as_posix())
    for edit in EDITS[recipe]:
        path = folder / edit.file
        text = path.read_text("utf-8")
        assert text.count(edit.text) == 1, f"{edit.file}: {edit.text}"
        path.write_text(text.replace(edit.text, edit.other), "utf-8")
        touched.add(edit.file)
    return touched


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("recipes") / "project")
    shutil.copytree(project.root() / "docs/reference", project.folder / "docs/reference")
    return project


@pytest.fixture(scope="module")
def touched(fresh):
    return {recipe: added(recipe, fresh.folder) for recipe in EDITS}


@pytest.fixture(scope="module")
def project(fresh, touched):
    """The chain's files, made by all that was added."""
    setting(fresh, **CHAIN)
    fresh.said = run(fresh, "dvc", "repro", "evaluate").stdout
    yield fresh
    fresh.end()


def test_contributing_counts_the_files_of_each_recipe_and_names_them(touched):
    text = (Project.root() / "CONTRIBUTING.md").read_text("utf-8")
    told = dict(re.findall(r"^- \*\*An? ([\w ]+)\*\* \((.+?)\): ", text, re.M))
    lines = {recipe: line for line in text.splitlines() for recipe in told
             if re.match(rf"- \*\*An? {recipe}\*\*", line)}  # fmt: skip
    assert told.keys() == touched.keys()
    counts = {recipe: sum(map(int, re.findall(r"\d+", how))) for recipe, how in told.items()}
    assert counts == {recipe: len(files) for recipe, files in touched.items()}
    for recipe, files in touched.items():
        new = {file.relative_to(RECIPES / recipe).as_posix()
               for file in (RECIPES / recipe).rglob("*.py")}  # fmt: skip
        for file in files - new:
            assert file.removeprefix("src/monge/") in lines[recipe], (recipe, file)


def test_the_source_packs_and_the_parameter_is_used(project):
    dataset = PackedDataset.open(project.folder / "data/prepared")
    assert dataset.manifest["source"] == {"kind": "stripes"}
    assert [*dataset.class_names] == ["columns", "rows"]
    assert len(dataset.train) + len(dataset.validation) == 200
    image = dataset.train.take(np.array([0]))
    assert (image == 255).sum() == 56, "black is white, but for one stripe"


def test_the_method_trains_the_net(project):
    record = json.loads((project.folder / "checkpoints/training.json").read_bytes())
    parameters = record["sessions"][-1]["parameters"]
    assert (parameters["objective"], parameters["net"]) == ("lsgan", "smooth")
    with (project.folder / "checkpoints/history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["10", "20"]
    assert all(float(row["triangular_estimate"]) <= 2.0 for row in rows)
    assert rows[1]["headline"] == rows[1]["triangular_estimate"]
    # With another rate of its own it is another training, with another of a method's unused none.
    others = "--set", "train.wgan.learning_rate=0.5", "--set", "train.dcgan.features=1"
    assert "nothing to do" in run(project, "monge", "train", *others).stdout
    changed = run(project, "monge", "train", "--set", "train.lsgan.critic_steps=3", check=False)
    assert changed.returncode == 2
    assert "train.lsgan.critic_steps: 2 -> 3" in changed.stdout


def test_the_net_is_exported_with_its_layers(project):
    assert "models/generator.onnx: equals the network" in project.said
    found = check_operators((project.folder / "models/generator.onnx").read_bytes())
    assert (found["Gemm"], found["Sigmoid"]) == (2, 2), "of the new layer, and of tanh to bytes"
    assert Sampler.load(project.folder / "models/generator.onnx", "cpu").sample(3).any()


def test_the_figure_is_in_the_report(project):
    (entries,) = json.loads((project.folder / "reports/metrics.json").read_bytes())["figures"]
    figure = entries["brightness_gap"]
    sampler = Sampler.load(project.folder / "models/generator.onnx", "cpu")
    real = PackedDataset.open(project.folder / "data/prepared").train
    apart = abs(sampler.sample(500).mean() - real.take(np.arange(len(real))).mean()) / 255.0
    assert figure["value"] == pytest.approx(apart, rel=0.2)
    assert figure["better"] == "lower"
    assert figure["floor"] < figure["value"]


def test_the_option_is_taken_and_kept(project):
    serving = project.start(
        "monge", "serve", "models/generator.onnx", "--port", "0", "--least-images", "3",
        PYTHONPATH=str(project.folder / "src"),
    )  # fmt: skip
    try:
        address = next(found[0] for line in serving.stdout if (found := ADDRESS.findall(line)))
        _wait_for(lambda: _answer(f"{address}/v2/health/ready")[0] == 200, 60.0)
        assert _answer(f"{address}/v1/samples", {"n": 3})[0] == 200
        refused, why = _answer(f"{address}/v1/samples", {"n": 2})
        assert 400 <= refused < 500
        assert b"2 images: ask for 3 or more" in why
    finally:
        serving.terminate()
        serving.wait(60)


def _answer(address: str, asked: dict[str, int] | None = None) -> tuple[int, bytes]:
    """A status and a body; the status is 0 while nobody listens."""
    body = None if asked is None else json.dumps(asked).encode()
    request = urllib.request.Request(address, body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read()
    except urllib.error.URLError:
        return 0, b""

"""Protects: one command takes a newcomer from a fresh clone to a promoted generator of digits."""

import importlib.util
import json
import re
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monge.data.packed import PackedDataset

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(900)


def test_the_chain_ends_by_saying_where_everything_is(finished):
    project, output, _ = finished
    for name in ("pictures", "figures", "champion", "sample", "history", "your images"):
        assert re.search(rf"^  {name} ", output, re.MULTILINE), output
    assert "monge-digits version 1. Promoted: there was no champion" in output
    assert "Traceback" not in output
    assert "warn" not in output.lower()
    for path in ("reports/pictures/samples.png", "reports/metrics.json", "models/generator.onnx"):
        assert (project.folder / path).is_file()
    with Image.open(project.folder / "reports/pictures/samples.png") as picture:
        picture.load()
        assert min(picture.size) >= 400


def test_the_digits_are_good_for_an_independent_judge(finished):
    project, _, _ = finished
    spec = importlib.util.spec_from_file_location("q", ROOT / "benchmarks/digits_quality.py")
    assert spec is not None
    assert spec.loader is not None
    quality = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(quality)
    dataset = PackedDataset.open(project.folder / "data/prepared")
    figures = quality.measure(
        project.folder / "models/generator.onnx", dataset, quality.judge(dataset)
    )
    assert figures["accuracy_on_real"] > 0.95  # the judge knows digits
    assert figures["ratio"] >= 0.85, figures
    assert figures["smallest_class"] >= 0.05, figures
    assert figures["largest_class"] <= 0.16, figures


def test_a_second_run_repeats_no_stage_and_is_quick(finished):
    project, _, first_s = finished
    began = time.monotonic()
    output = project.retrain().stdout
    for stage in ("prepare", "train", "export", "evaluate"):
        assert f"Stage '{stage}' didn't change, skipping" in output
    assert "this file is the champion already" in output
    assert time.monotonic() - began < max(60.0, first_s / 3)


def test_dvc_alone_needs_no_prefect_and_shows_figures_and_pictures(finished):
    project, _, _ = finished
    assert "Data and pipelines are up to date" in project.run("dvc", "repro").stdout
    shown = json.loads(project.run("dvc", "metrics", "show", "--json").stdout)
    figures = shown[""]["data"]["reports/metrics.json"]["data"]
    assert figures["frechet"] > 0
    page = project.run("dvc", "plots", "show").stdout.strip().splitlines()[-1]
    html = Path(page.removeprefix("file://")).read_text("utf-8")
    assert "samples.png" in html
    assert "wasserstein_estimate" in html


def test_mlflow_holds_one_run_with_everything(finished):
    project, _, _ = finished
    with sqlite3.connect(project.folder / "mlflow.db") as database:
        runs = database.execute("select run_uuid, status from runs").fetchall()
        assert [status for _, status in runs] == ["FINISHED"]
        metrics = {row[0] for row in database.execute("select distinct key from metrics")}
        assert {"wasserstein_estimate", "gradient_norm", "evaluate.frechet"} <= metrics
        steps = database.execute(
            "select count(*), count(distinct step) from metrics where key='wasserstein_estimate'"
        ).fetchone()
        assert steps[0] == steps[1] > 10
        params = dict(database.execute("select key, value from params"))
        assert params["train.objective"] == "wgan-gp"
        tags = dict(database.execute("select key, value from tags"))
        assert {"python", "version.torch", "cpu_count"} <= tags.keys()
        digests = [row[0] for row in database.execute("select digest from datasets")]
        dataset = PackedDataset.open(project.folder / "data/prepared")
        assert digests == [dataset.content_hash[:36]]
        aliases = dict(
            database.execute("select alias, version from registered_model_aliases").fetchall()
        )
        assert aliases == {"champion": 1, "challenger": 1}
    grids = sorted((project.folder / "mlartifacts").rglob("images/samples/*.png"))
    assert len(grids) >= 4
    assert list((project.folder / "mlartifacts").rglob("reports/pictures/samples.png"))


def test_prefect_holds_the_figures_the_picture_and_the_link(finished):
    project, _, _ = finished
    with sqlite3.connect(project.folder / ".prefect/prefect.db") as database:
        artifacts = dict(database.execute("select key, data from artifact where key is not null"))
    assert {"figures", "samples", "mlflow-run"} <= artifacts.keys()
    assert "frechet" in artifacts["figures"]
    assert "data:image/png;base64," in artifacts["samples"]


def test_samples_from_the_file_and_from_the_registry_are_the_same_and_quick(finished):
    project, _, _ = finished
    times = []
    for _ in range(3):
        began = time.monotonic()
        project.run(
            "monge", "sample", "models/generator.onnx", "-n", 64, "--seed", 7, "-o", "a.npz"
        )
        times.append(time.monotonic() - began)
    assert min(times) < 2.0, times
    project.run("monge", "sample", "models:/monge-digits@champion", "--seed", 7, "-o", "b.npz")
    a, b = (np.load(project.folder / name)["images"] for name in ("a.npz", "b.npz"))
    assert a.shape == (64, 8, 8, 1)
    np.testing.assert_array_equal(a, b)


def test_nothing_is_written_outside_the_project_and_home_stays_clean(finished):
    project, _, _ = finished
    around = {path.name for path in project.folder.parent.iterdir()}
    assert around <= {"project", ".config", ".cache", ".local", ".prefect"}, around
    leftovers = [
        path for path in project.folder.parent.rglob("*")
        if path.is_file() and project.folder not in path.parents
    ]  # fmt: skip
    assert all(path.stat().st_size < 1_000_000 for path in leftovers), leftovers


def test_a_worse_generator_becomes_challenger_and_not_champion(finished):
    """Last in this file: it changes the project's parameters."""
    project, _, _ = finished
    output = project.retrain("train.steps=60").stdout
    assert "params.yaml: train.steps: 4000 -> 60" in output
    assert "a new training, because: train.steps: 4000 -> 60" in output
    assert (project.folder / "checkpoints.replaced/step-00004000").is_dir()
    assert "monge-digits version 1. Not promoted" in output, output
    with sqlite3.connect(project.folder / "mlflow.db") as database:
        aliases = dict(
            database.execute("select alias, version from registered_model_aliases").fetchall()
        )
    assert aliases == {"champion": 1, "challenger": 2}
    assert "# Generator iterations" in (project.folder / "params.yaml").read_text()

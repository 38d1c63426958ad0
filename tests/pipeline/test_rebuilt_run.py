"""Protects: a generator that is promoted from a clone has its parameters and curve beside it."""

import csv
import json
import shutil

import pytest

from monge.tracking import mlflow_store, rebuild
from tests.pipeline.conftest import Project
from tests.pipeline.test_experiments import TINY

pytestmark = pytest.mark.timeout(600)
CHANGES = (*TINY, "train.learning_rate_decay=none")
SET = [part for change in CHANGES for part in ("--set", change)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The four stages that make files, with their run tracked."""
    project = Project(tmp_path_factory.mktemp("made") / "project")
    for stage in ("prepare", "train", "export", "evaluate"):
        project.run("monge", stage, *SET)
    return project


@pytest.fixture
def clone(made, tmp_path, monkeypatch):
    """What a clone and `dvc pull` give: every file, and no memory."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    project = object.__new__(Project)
    project.folder = tmp_path / "clone"
    memory = shutil.ignore_patterns("mlflow.db", "mlartifacts", ".monge", ".git")
    shutil.copytree(made.folder, project.folder, ignore=memory)
    return project


def client(project):
    return mlflow_store.connect(project.folder)


def only_run(project):
    experiment = client(project).get_experiment_by_name("tiny").experiment_id
    (run,) = client(project).search_runs([experiment])
    return run


def points(project, name):
    """Steps and values of a figure, every point that there is."""
    run_id = only_run(project).info.run_id
    return [(p.step, p.value) for p in client(project).get_metric_history(run_id, name)]


def table(project, name):
    with (project.folder / "checkpoints" / name).open(newline="") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


TWICE = ("headline", "headline_held_out")
"""Columns that are in the run by the method's own names for them alone."""


def files(project, run):
    place = project.folder / "mlartifacts" / run.info.run_id / "artifacts"
    return {str(path.relative_to(place)) for path in place.rglob("*.*")}


def assert_whole(project, like):
    run, trained = only_run(project), only_run(like)
    wanted = {k: v for k, v in trained.data.params.items() if k.startswith("train.")}
    assert len(wanted) > 20
    assert {k: v for k, v in run.data.params.items() if k.startswith("train.")} == wanted
    for name in ("history.csv", "quality.csv"):
        rows = table(project, name)
        for column in rows[0].keys() - {"step", *TWICE}:
            expected = [(int(row["step"]), row[column]) for row in rows if column in row]
            assert sorted(points(project, column)) == sorted(expected), column
    report = json.loads((project.folder / "reports/metrics.json").read_text())
    judged = {k: v for k, v in report.items() if isinstance(v, float)}
    assert len(judged) > 5
    step = max(step for step, _ in points(like, f"evaluate.{next(iter(judged))}"))
    for name, value in judged.items():
        assert points(project, f"evaluate.{name}") == [(step, pytest.approx(value))], name
    assert run.data.tags["monge.key"] == trained.data.tags["monge.key"]
    assert not run.data.metrics.keys() & set(TWICE)
    assert run.data.tags["monge.rebuilt"] == "true"
    assert len(run.data.tags["monge.dataset"]) == 64
    assert run.info.status == "FINISHED"
    assert {"samples.gif", "images/samples/step-00000020.png", "reports/report.html"} <= files(
        project, run
    )
    assert files(project, run) >= {
        name for name in files(like, trained) if name.startswith("reports")
    }


def test_promote_makes_the_run_from_the_files_once_and_a_finished_one_is_left_alone(made, clone):
    said = clone.run("monge", "promote", *SET).stdout
    assert "none. Not promoted: frechet is not nearer" in said
    assert "rebuilt from the project's files" in said
    assert_whole(clone, made)
    assert "rebuilt" not in clone.run("monge", "promote", *SET).stdout
    assert_whole(clone, made)
    # Killed in the middle of it: the next one completes it, and no step is there twice.
    run_id = only_run(clone).info.run_id
    client(clone).set_tag(run_id, rebuild.TAG, "unfinished")
    assert "rebuilt" in clone.run("monge", "promote", *SET).stdout
    assert_whole(clone, made)

    before = only_run(made).data.to_dictionary()
    assert "rebuilt" not in made.run("monge", "promote", *SET).stdout
    after = only_run(made).data.to_dictionary()
    assert before["params"] == after["params"]
    assert before["metrics"] == after["metrics"]
    assert "monge.rebuilt" not in after["tags"]


def test_evaluate_does_it_too_and_a_training_that_goes_on_repeats_no_step(made, clone):
    clone.run("monge", "evaluate", *SET)
    assert_whole(clone, made)
    clone.run("monge", "train", *SET, "--set", "train.steps=30")
    steps = [step for step, _ in points(clone, "relativistic_estimate")]
    assert sorted(steps) == [5, 10, 15, 20, 25, 30]
    changed = [tag for tag in only_run(clone).data.tags if tag.startswith("changed.")]
    assert changed == ["changed.train.steps"]


def test_another_trainings_checkpoints_give_no_curve(made, clone):
    (clone.folder / "checkpoints/training.json").write_text('{"key": "another"}\n')
    clone.run("monge", "promote", *SET)
    run = only_run(clone)
    assert run.data.tags["monge.rebuilt"] == "true"
    assert "relativistic_estimate" not in run.data.metrics
    assert "train.steps" in run.data.params
    assert "samples.gif" not in files(clone, run)


def test_the_tables_have_the_names_that_the_training_gives_them():
    from monge.training.checkpoints import record
    from monge.training.watch import history, quality

    assert rebuild.TABLES == (history.HISTORY, quality.TABLE)
    assert record.FILE == "training.json"


def test_tracking_that_is_switched_off_makes_no_curve(clone):
    clone.run("monge", "promote", *SET, MONGE_TRACKING="off")
    assert only_run(clone).data.params == {}

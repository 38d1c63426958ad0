"""Protects: an experiment that DVC runs in a temporary copy is remembered by the project."""

import json
import sqlite3

import pytest

pytestmark = pytest.mark.timeout(600)

TINY = (
    "train.steps=20", "train.batch_size=16", "train.latent_dim=8", "train.mlp.depth=1",
    "train.mlp.width=16", "train.checkpoint_every=10", "train.log_every=5", "train.grid_every=10",
    "evaluate.images=200", "evaluate.transport_images=40", "evaluate.repeats=2",
    "evaluate.projections=16", "evaluate.features=random", "promote.name=tiny",
)  # fmt: skip


def commit(project):
    project.run("git", "config", "user.name", "A Person")
    project.run("git", "config", "user.email", "person@example.org")
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--message", "Begin")


def rows(project, query):
    with sqlite3.connect(project.folder / "mlflow.db") as database:
        return database.execute(query).fetchall()


def test_a_temporary_experiment_is_in_the_projects_memory_and_is_promoted_from_there(project):
    commit(project)
    flags = [part for change in TINY for part in ("--set-param", change)]
    done = project.run("dvc", "exp", "run", "--temp", "--name", "first", *flags)
    assert not (project.folder / "checkpoints").exists(), "it did not run in a copy"
    copies = project.folder / ".dvc/tmp/exps/standalone"
    assert not list(copies.glob("tmp*")), done.stdout

    ((run_id, key),) = rows(project, "SELECT run_uuid, value FROM tags WHERE key = 'monge.key'")
    steps = rows(project, "SELECT step FROM metrics WHERE key = 'relativistic_estimate'")
    assert sorted(steps) == [(5,), (10,), (15,), (20,)]
    assert rows(project, "SELECT value FROM tags WHERE key = 'monge.experiment'") == [("first",)]
    files = {path.name for path in (project.folder / "mlartifacts" / run_id).rglob("*.*")}
    assert {"samples.gif", "step-00000020.png", "report.html"} <= files
    assert not list((project.folder / ".monge" / "spool").iterdir())
    assert key in json.loads((project.folder / ".monge/cost.json").read_text())
    assert not (project.folder / ".monge/train.lock").exists(), "its lock was the project's"

    project.run("dvc", "exp", "apply", "first")
    assert "none. Not promoted: frechet is not nearer" in project.run("monge", "promote").stdout
    assert rows(project, "SELECT run_uuid FROM runs") == [(run_id,)]
    assert rows(project, "SELECT run_id FROM model_versions") == [(run_id,)]

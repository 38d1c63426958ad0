"""A project that was moved or copied has its runs and its champion with it, and nobody else's."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monge.errors import StorageError
from monge.registry import Registry, fetch
from monge.tracking import location, mlflow_store

Generator = Callable[[float], Path]

NAMES = ["plain", 'it\'s a "no.1 #2" [50%41] Mönge']

# Each in a process of its own, as a person's commands are: MLflow keeps in mind where a run's
# files go.
_TRACK = """
import logging, sys
from pathlib import Path
from monge.registry import fetch
from monge.tracking import open_run
logging.basicConfig(level=logging.WARNING, format="%(message)s")
logging.getLogger("monge").setLevel(logging.INFO)
project, *runs = Path(sys.argv[1]), *sys.argv[2:]
for text in runs:
    key, note = text.split(":")
    run = open_run(key, root=project, state=project / ".monge", experiment="digits")
    run.metrics({"loss": 1.0}, 1)
    (project / "note.txt").write_text(note)
    run.file(project / "note.txt", "reports")
    run.close("FINISHED", timeout_s=120)
"""


def track(project: Path, *runs: str) -> str:
    """Runs `key:note`, each with a figure and a file; what was said."""
    done = subprocess.run(
        [sys.executable, "-c", _TRACK, project, *runs], text=True, check=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.stdout


def promoted(project: Path, model: Path) -> None:
    registry = Registry(project, "digits")
    version = registry.register(model, run_key="run", tags={}, experiment="digits")
    registry.set_alias("champion", version)


def digest(project: Path) -> dict[str, str]:
    """What is remembered: of each file its hash, of the database what is in it."""
    with sqlite3.connect(project / "mlflow.db") as database:
        found = {"database": hashlib.sha256("\n".join(database.iterdump()).encode()).hexdigest()}
    for path in sorted((project / "mlartifacts").rglob("*")):
        if path.is_file():
            found[str(path.relative_to(project))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def notes(project: Path, key: str) -> list[str]:
    client: Any = mlflow_store.connect(project)
    experiment = client.get_experiment_by_name("digits").experiment_id
    (run,) = client.search_runs([experiment], f"tags.`monge.key` = '{key}'")
    place = project / "mlartifacts" / run.info.run_id
    return [path.read_text() for path in place.rglob("note.txt")]


def named(project: Path, name: str) -> Path:
    """The empty project under another name."""
    return project.rename(project.with_name(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_moved_project_has_its_champion_and_logs_where_it_is_now(
    name: str, project: Path, generator: Generator
) -> None:
    project, model = named(project, f"{name} before"), generator(2.0)
    track(project, "run:first")
    promoted(project, model)
    moved = project.rename(project.with_name(f"{name} after"))

    said = track(moved, "run:second", "other:third").splitlines()
    (line,) = [line for line in said if "this project was in" in line]
    assert line.startswith(f"this project was in {project}: ")
    assert fetch("models:/digits@champion", moved).read_bytes() == model.read_bytes()
    assert notes(moved, "run") == ["second"], "the run is another one, or its files went elsewhere"
    assert notes(moved, "other") == ["third"]
    assert not project.exists(), "something was written to where the project was"


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_changes_nothing_of_the_original_and_lives_without_it(
    name: str, project: Path, generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, other = generator(2.0), generator(3.0)
    track(project, "run:original's")
    promoted(project, model)
    copy = project.with_name(name)
    shutil.copytree(project, copy)
    before = digest(project)

    track(copy, "run:copy's")
    promoted(copy, other)
    assert digest(project) == before
    assert notes(project, "run") == ["original's"]
    assert notes(copy, "run") == ["copy's"]
    shutil.rmtree(project)
    assert fetch("models:/digits/1", copy).read_bytes() == model.read_bytes()
    if "%" in name:  # which MLflow's own loader stumbles over, wherever the project was
        return
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{copy / 'mlflow.db'}")
    import mlflow.onnx
    import onnx

    loaded = mlflow.onnx.load_model("models:/digits@champion")  # as another program would
    assert loaded.graph == onnx.load(other).graph


def places(project: Path) -> list[str]:
    """Every place that the database names."""
    with sqlite3.connect(project / "mlflow.db") as database:
        return [
            text for table, column in location._PLACES
            for (text,) in database.execute(f"SELECT {column} FROM {table}") if text
        ]  # fmt: skip


def test_only_paths_of_the_project_are_rewritten(project: Path, generator: Generator) -> None:
    project = named(project, "here")
    track(project, "run:x")
    promoted(project, generator(2.0))
    others = [f"{project}-2/mlartifacts", f"file://{project}2/a", f"s3://bucket{project}/a", "x/y"]
    with sqlite3.connect(project / "mlflow.db") as database:
        for number, other in enumerate(others):
            database.execute(
                "INSERT INTO experiments (name, artifact_location, lifecycle_stage) "
                "VALUES (?, ?, 'active')", (f"other{number}", other),
            )  # fmt: skip
        database.execute(
            "INSERT INTO experiments (name, artifact_location, lifecycle_stage) "
            "VALUES ('plain', ?, 'active')", (f"{project}/mlartifacts/a b#c",),
        )  # fmt: skip
    ours = len([place for place in places(project) if place.startswith(project.as_uri() + "/")])
    assert ours == 5, "of the experiment, the run, the model, and two of the version"
    moved = project.rename(project.with_name("now here"))
    mlflow_store.connect(moved)
    found = places(moved)
    assert set(others) <= set(found)
    assert f"{moved.as_uri()}/mlartifacts/a%20b%23c" in found
    assert len([p for p in found if p.startswith(moved.as_uri() + "/mlartifacts")]) == ours + 1


def test_a_database_from_before_the_place_was_kept_is_mended_too(
    project: Path, generator: Generator
) -> None:
    model = generator(2.0)
    track(project, "run:x")
    promoted(project, model)
    with sqlite3.connect(project / "mlflow.db") as database:
        database.execute(f"DROP TABLE {location._TABLE}")
        for table, column in location._PLACES:  # as they were written then: plain paths
            database.execute(f"UPDATE {table} SET {column} = replace({column}, 'file://', '')")
        database.execute(
            "INSERT INTO experiments (name, artifact_location, lifecycle_stage) "
            "VALUES ('another tool', '/nas/mlartifacts', 'active')"
        )
    moved = project.rename(project.with_name("moved"))
    assert fetch("models:/digits@champion", moved).read_bytes() == model.read_bytes()
    assert "/nas/mlartifacts" in places(moved)


_SETTLE = """
import sys
from pathlib import Path
from monge.tracking import location
if sys.argv[2:]:  # die in the middle of the transaction
    import os
    whole = location._mend
    location._mend = lambda *rest: (whole(*rest), os._exit(9))
location.settle(Path(sys.argv[1]))
"""


def settle(database: Path, *die: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _SETTLE, str(database), *die])


def test_a_kill_in_the_middle_changes_nothing_and_two_at_once_agree(project: Path) -> None:
    track(project, "run:x")
    moved = project.rename(project.with_name("moved"))
    before = places(moved)
    assert settle(moved / "mlflow.db", "die").wait(60) == 9
    assert places(moved) == before
    assert [p.wait(60) for p in [settle(moved / "mlflow.db") for _ in range(4)]] == [0] * 4
    after = places(moved)
    assert after == [p.replace(project.as_uri() + "/", moved.as_uri() + "/") for p in before]
    assert after != before


def test_nothing_is_written_where_nothing_moved(project: Path) -> None:
    track(project, "run:x")
    before = (project / "mlflow.db").stat()
    location.settle(project / "mlflow.db")
    after = (project / "mlflow.db").stat()
    assert (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)


def test_a_database_of_somebodys_own_is_left_alone(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own.db"
    shutil.copyfile(project / "mlflow.db", own)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{own}")
    mlflow_store.connect(project)
    with sqlite3.connect(own) as database:
        kept = database.execute(f"SELECT uri FROM {location._TABLE}").fetchall()
    assert kept != [(own.parent.as_uri(),)]


def test_a_damaged_database_is_one_line(project: Path) -> None:
    (project / "mlflow.db").write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError, match=r"mlflow\.db: cannot be used \(file is not a database"):
        mlflow_store.connect(project)

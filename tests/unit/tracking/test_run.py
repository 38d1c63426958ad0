"""A run on a real store: everything arrives once, under one MLflow run, whoever sends it."""

from __future__ import annotations

import logging
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from monge.errors import MissingExtra
from monge.tracking import NullRun, Run, environment, mlflow_store, open_run
from monge.tracking.environment import FLOW_RUN, asked
from monge.tracking.spool import own


@pytest.fixture
def opened(project: Path) -> Callable[..., Run]:
    def open_(key: str = "k", **settings: Any) -> Run:
        settings = {"interval_s": 0.05, **settings}
        return open_run(key, root=project, state=project / ".monge", experiment="tests", **settings)

    return open_


def client(project: Path) -> Any:
    return mlflow_store.connect(project)


def only_run(project: Path, key: str = "k") -> Any:
    mlflow = client(project)
    experiment = mlflow.get_experiment_by_name("tests").experiment_id
    (found,) = mlflow.search_runs([experiment], f"tags.`monge.key` = '{key}'")
    return found


def history(project: Path, name: str, key: str = "k") -> list[tuple[int, float]]:
    run_id = only_run(project, key).info.run_id
    points = client(project).get_metric_history(run_id, name)
    return sorted((point.step, point.value) for point in points)


def test_what_is_only_added_to_a_run_does_not_make_it_longer(
    opened: Callable[..., Run], project: Path, tmp_path: Path
) -> None:
    run = opened()
    run.metrics({"loss": 1.0}, 1)
    run.close("FINISHED")
    ended_ms = only_run(project).info.end_time
    page = tmp_path / "report.html"
    page.write_text("with its verdict")
    later = opened()
    later.file(page, "reports")
    later.tags({"git.export_revision": "abc"})
    later.close("FINISHED")
    found = only_run(project)
    assert (found.info.status, found.info.end_time) == ("FINISHED", ended_ms)
    assert found.data.tags["git.export_revision"] == "abc"
    judged = opened()
    judged.metrics({"evaluate.frechet": 1.0}, 1)
    judged.close("FINISHED")
    assert only_run(project).info.end_time > ended_ms


def test_everything_logged_is_in_mlflow_and_the_spool_is_gone(
    project: Path, opened: Callable[..., Run], tmp_path: Path
) -> None:
    run = opened()
    run.tags({"python": "3.11"})
    run.params({"train": {"steps": 100, "wgan-gp": {"clip": 0.5}}, "odd name (µ)": None})
    for step in range(2500):
        run.metrics({"loss": step / 4, "bad name!": 1.0}, step)
    pixels = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)
    run.image("samples", pixels, 100)
    run.image("grey", pixels[:, :, :1], 7)
    note = tmp_path / "note.txt"
    note.write_text("as it was")
    run.file(note, "reports")
    note.write_text("changed later")
    run.dataset("digits", "d" * 64, {"images": 1797, "source": "digits"})
    run.close("FINISHED")

    found = only_run(project)
    assert run.run_id() == found.info.run_id
    assert found.info.status == "FINISHED"
    assert found.data.params == {
        "train.steps": "100", "train.wgan-gp.clip": "0.5", "odd name _µ_": "None",
    }  # fmt: skip
    assert found.data.tags["python"] == "3.11"
    assert history(project, "loss") == [(step, step / 4) for step in range(2500)]
    assert len(history(project, "bad name_")) == 2500
    (dataset,) = found.inputs.dataset_inputs
    assert dataset.dataset.digest == "d" * 36
    assert "d" * 64 in dataset.dataset.profile
    artifacts = project / "mlartifacts" / found.info.run_id / "artifacts"
    with Image.open(artifacts / "images/samples/step-00000100.png") as image:
        assert (np.asarray(image) == pixels).all()
    with Image.open(artifacts / "images/grey/step-00000007.png") as image:
        assert (np.asarray(image) == pixels[:, :, 0]).all()
    assert (artifacts / "reports/note.txt").read_text() == "as it was"
    assert list((project / ".monge/spool").iterdir()) == []


def test_numbers_that_are_none_are_stored(project: Path, opened: Callable[..., Run]) -> None:
    run = opened()
    run.metrics({"nan": math.nan, "up": math.inf, "down": -math.inf}, 0)
    run.close("FAILED")
    assert math.isnan(history(project, "nan")[0][1])
    assert history(project, "up")[0][1] > 1e300  # the store's own stand-in for infinity
    assert history(project, "down")[0][1] < -1e300
    assert only_run(project).info.status == "FAILED"


def test_a_resumed_run_continues_without_repeating_steps(
    project: Path, opened: Callable[..., Run]
) -> None:
    first = opened()
    for step in range(8):
        first.metrics({"loss": float(step)}, step)
    first.params({"lr": 1, "steps": 8})
    first.close("KILLED")
    second = opened()
    second.params({"lr": 2, "steps": 8, "new": 3})
    for step in range(5, 12):  # from the checkpoint at step 4
        second.metrics({"loss": float(step)}, step)
    second.metrics({"judged": 1.0}, 7)
    second.metrics({"judged": 2.0}, 7)
    second.metrics({"judged": 3.0}, 7, again=True)
    second.close("FINISHED")
    assert first.run_id() == second.run_id()
    assert history(project, "loss") == [(step, float(step)) for step in range(12)]
    assert history(project, "judged") == [(7, 1.0), (7, 3.0)]
    found = only_run(project)
    assert found.data.params == {"lr": "1", "steps": "8", "new": "3"}
    assert found.data.tags["changed.lr"] == "2"
    assert "changed.steps" not in found.data.tags


def test_events_sent_twice_are_stored_once(project: Path, opened: Callable[..., Run]) -> None:
    run = opened()
    for step in range(50):
        run.metrics({"loss": math.nan if step == 3 else step / 3}, step)
    run.dataset("digits", "d", {})
    spool = own(project / ".monge", "copy")  # what a crash between sending and noting leaves
    for event in run._spool.events():  # type: ignore[attr-defined]
        spool.append(event)
    run.close("FINISHED")
    spool.release()
    opened("other").close("FINISHED")
    assert not (project / ".monge/spool/copy").exists()
    assert [step for step, _ in history(project, "loss")] == list(range(50))
    assert len(only_run(project).inputs.dataset_inputs) == 1


def test_a_killed_process_leaves_records_that_the_next_run_sends(
    project: Path, opened: Callable[..., Run]
) -> None:
    code = """
import os, sys
from pathlib import Path
from monge.tracking import open_run
root = Path(sys.argv[1])
run = open_run("killed", root=root, state=root / ".monge", experiment="tests", interval_s=60)
for step in range(20):
    run.metrics({"loss": float(step)}, step)
os.kill(os.getpid(), 9)
"""
    killed = subprocess.run([sys.executable, "-c", code, str(project)], check=False)
    assert killed.returncode == -9
    assert (project / ".monge/spool/killed/events.jsonl").exists()
    opened("next").close("FINISHED")
    assert [step for step, _ in history(project, "loss", "killed")] == list(range(20))
    assert only_run(project, "killed").info.status == "KILLED"
    assert list((project / ".monge/spool").iterdir()) == []


def test_a_run_is_found_again_by_its_tag_when_this_machine_forgot_it(
    project: Path, opened: Callable[..., Run]
) -> None:
    first = opened()
    first.close("FINISHED")
    (project / ".monge/runs/k.json").unlink()
    second = opened()
    second.close("FINISHED")
    assert second.run_id() == first.run_id() is not None
    only_run(project)


def test_a_run_that_somebody_deleted_gets_a_new_one(
    project: Path, opened: Callable[..., Run]
) -> None:
    run = opened()
    deleted = run.run_id(30)
    client(project).delete_run(deleted)
    run.metrics({"loss": 1.0}, 1)
    run.close("FINISHED")
    assert run.run_id() not in (None, deleted)
    assert history(project, "loss") == [(1, 1.0)]


def test_a_record_that_mlflow_refuses_is_kept_and_holds_nothing_up(
    project: Path, opened: Callable[..., Run], caplog: pytest.LogCaptureFixture
) -> None:
    run = opened()
    run.metrics({"loss": 1.0}, 1)
    run.metrics({"//": 1.0}, 1)
    run.metrics({"loss": 2.0}, 2)
    run.close("FINISHED")
    assert history(project, "loss") == [(1, 1.0), (2, 2.0)]
    assert "//" in (project / ".monge/runs/k.refused.jsonl").read_text()
    assert "refused a record" in caplog.text


def test_an_absent_server_is_said_once_and_costs_no_record(
    project: Path,
    opened: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def away(*_: object) -> None:
        raise ConnectionError("nobody there")

    with monkeypatch.context() as patch:
        patch.setattr(mlflow_store, "find_or_create_run", away)
        run = opened()
        run.metrics({"loss": 1.0}, 1)
        run.close("FINISHED", timeout_s=20)
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 2
    assert "nobody there. Figures are kept on this disk and sent later" in said[0]
    assert said[1].startswith("3 records of this run wait in")
    run._spool.release()  # type: ignore[attr-defined]  # as the end of the process does
    opened("next").close("FINISHED")
    assert history(project, "loss") == [(1, 1.0)]
    assert only_run(project).info.status == "FINISHED"


def test_closing_waits_no_longer_than_asked(
    opened: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading
    import time

    release = threading.Event()
    monkeypatch.setattr(mlflow_store, "connect", lambda *_: release.wait(120))
    run = opened()
    start_s = time.monotonic()
    run.close("FINISHED", timeout_s=0.3)
    assert time.monotonic() - start_s < 60  # and not the 120 of what it waits for
    release.set()


def test_two_processes_on_one_database_lose_nothing(
    project: Path, opened: Callable[..., Run]
) -> None:
    code = """
import sys
from pathlib import Path
from monge.tracking import open_run
root, key = Path(sys.argv[1]), sys.argv[2]
run = open_run(key, root=root, state=root / ".monge", experiment="tests", interval_s=0.01)
for step in range(600):
    run.metrics({"loss": float(step)}, step)
run.close("FINISHED", timeout_s=60)
"""
    children = [
        subprocess.Popen([sys.executable, "-c", code, str(project), key]) for key in ("a", "b")
    ]
    assert [child.wait(400) for child in children] == [0, 0]
    for key in ("a", "b"):
        assert [step for step, _ in history(project, "loss", key)] == list(range(600))


def test_tracking_switched_off_touches_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = project / ".monge"
    monkeypatch.setenv("MONGE_TRACKING", "off")
    run = open_run("k", root=project, state=state, experiment="e")
    assert isinstance(run, NullRun)
    run.metrics({"loss": 1.0}, 1)
    run.close("FINISHED")
    assert run.run_id() is None
    assert not state.exists()


def test_a_missing_mlflow_is_named_with_both_remedies(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"monge\[pipeline\].*MONGE_TRACKING=off"):
        open_run("k", root=project, state=project / ".monge", experiment="e")


def test_the_first_database_is_made_without_a_word_or_a_stray_file(tmp_path: Path) -> None:
    code = """
from pathlib import Path
from monge.tracking import open_run
run = open_run("k", root=Path("."), state=Path(".monge"), experiment="e", interval_s=0.1)
run.metrics({"loss": 1.0}, 1)
run.close("FINISHED", timeout_s=60)
print(run.run_id())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert len(done.stdout.strip()) == 32
    assert sorted(path.name for path in tmp_path.iterdir()) == [".monge", "mlflow.db"]


def test_opening_a_run_does_not_import_mlflow_in_the_callers_time() -> None:
    code = "import sys, monge.tracking, monge.tracking.spooled; print('mlflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_environment_names_revision_and_dirtiness(tmp_path: Path) -> None:
    assert "git.revision" not in environment(tmp_path)

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        return subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout.strip()

    git("init", "-q")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-qm", "a")
    facts = environment(tmp_path)
    assert facts["git.revision"] == git("rev-parse", "HEAD")
    assert facts["git.dirty"] == "false"
    (tmp_path / "a").write_text("2")
    assert environment(tmp_path)["git.dirty"] == "true"
    assert int(facts["cpu_count"]) >= 1


def test_a_kill_while_the_database_is_made_leaves_none_that_cannot_be_opened(tmp_path):
    """MLflow needs seconds to make one, and never mends one that is half made."""
    import os
    import signal
    import subprocess
    import sys
    import time

    code = (
        "import sys; from pathlib import Path; from monge.tracking import mlflow_store\n"
        "root = Path(sys.argv[1]); print(len(mlflow_store.connect(root)"
        ".search_experiments()))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".monge/new.db")) and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.1)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "mlflow.db").exists()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1


@pytest.mark.parametrize("text", ["", "{", "[1]", "7", "null"])
def test_what_is_no_run_of_prefects_asks_for_nothing(monkeypatch, text):
    monkeypatch.setenv(FLOW_RUN, text)
    assert asked() == {}
    monkeypatch.setenv(FLOW_RUN, '{"prefect.flow": "retrain"}')
    assert asked() == {"prefect.flow": "retrain"}

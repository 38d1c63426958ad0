"""A real MLflow server that dies, and a logging process that dies: nothing late, lost or twice."""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monge.tracking import mlflow_store, open_run
from tests.mlflow_server import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    try:
        server.start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", server.address)
            yield server
    finally:
        server.kill()


def steps(client: Any, key: str) -> tuple[Any, list[int]]:
    experiment = client.get_experiment_by_name("faults").experiment_id
    (run,) = client.search_runs([experiment], f"tags.`monge.key` = '{key}'")
    return run, sorted(p.step for p in client.get_metric_history(run.info.run_id, "loss"))


@pytest.mark.timeout(400)
def test_a_training_outlives_its_tracking_server(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = open_run(
        "outlives", root=tmp_path, state=tmp_path / "state", experiment="faults", interval_s=0.2
    )
    assert run.run_id(60) is not None
    picture = tmp_path / "picture.txt"
    picture.write_text("while away")
    calls_s = []

    def log(first: int, last: int) -> None:
        for step in range(first, last):
            start_s = time.perf_counter()
            run.metrics({"loss": step / 2, "odd": float("nan")}, step)
            calls_s.append(time.perf_counter() - start_s)
            time.sleep(0.005)

    log(0, 200)
    server.kill()
    log(200, 1000)
    run.file(picture, "notes")
    server.start()
    log(1000, 1200)
    run.close("FINISHED", timeout_s=60)

    assert statistics.median(calls_s) < 0.002
    assert statistics.quantiles(calls_s, n=100)[-1] < 0.1  # the side thread, other processes
    client = mlflow_store.connect(tmp_path)
    found, logged = steps(client, "outlives")
    assert logged == list(range(1200))
    assert len(client.get_metric_history(found.info.run_id, "odd")) == 1200
    assert found.info.status == "FINISHED"
    assert [item.path for item in client.list_artifacts(found.info.run_id, "notes")] == [
        "notes/picture.txt"
    ]
    said = [record.getMessage() for record in caplog.records if record.name.startswith("monge")]
    assert len(said) == 2, said
    assert f"{server.address} does not answer" in said[0]
    assert "Tracking is back" in said[1]
    assert list((tmp_path / "state/spool").iterdir()) == []


WRITER = """
import os, sys, time
from pathlib import Path
from monge.tracking import open_run
folder, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
run = open_run("killed", root=folder, state=folder / "state", experiment="faults", interval_s=0.05)
for step in range(first, last):
    run.metrics({"loss": step / 2}, step)
    time.sleep(0.01)
    if step == int(sys.argv[4]):
        run.run_id(60)
        print("at", step, flush=True)
run.close("FINISHED", timeout_s=60)
"""


@pytest.mark.timeout(400)
def test_a_killed_writer_continues_its_run_with_every_step_once(
    server: Server, tmp_path: Path
) -> None:
    def writer(first: int, last: int, pause: int) -> subprocess.Popen[str]:
        arguments = [str(tmp_path), str(first), str(last), str(pause)]
        return subprocess.Popen(
            [sys.executable, "-c", WRITER, *arguments], stdout=subprocess.PIPE, text=True
        )

    # Killed among its deliveries, twice; each time it goes on from an older checkpoint.
    for first, pause, wait_s in ((0, 100, 0.13), (50, 250, 0.31)):
        with writer(first, 10_000, pause) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == f"at {pause}\n"
            time.sleep(wait_s)
            child.send_signal(signal.SIGKILL)
    assert (tmp_path / "state/spool/killed/events.jsonl").exists()
    with writer(200, 600, 599) as last:
        assert last.wait(120) == 0
    client = mlflow_store.connect(tmp_path)
    found, logged = steps(client, "killed")
    assert logged == list(range(600))
    assert found.info.status == "FINISHED"
    assert list((tmp_path / "state/spool").iterdir()) == []

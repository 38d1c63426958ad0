"""Protects: a sweep that is killed goes on, on another runner; the best of it is promoted."""

import json
import os
import signal
import socket
import sqlite3
import sys
import time
import urllib.request

import pytest

from tests.pipeline.conftest import Project

pytestmark = pytest.mark.timeout(900)

SMALL = (
    "train.steps=40", "train.batch_size=16", "train.latent_dim=8", "train.mlp.depth=1",
    "train.mlp.width=16", "train.checkpoint_every=20", "train.log_every=10",
    "train.quality_every=20", "train.grid_every=40", "train.threads=1", "evaluate.images=60",
    "evaluate.transport_images=20", "evaluate.repeats=2", "evaluate.projections=8",
    "evaluate.features=random", "promote.name=tiny",
)  # fmt: skip
VARY = ("--vary", "train.seed=1,2", "--search", "grid")


def command(*arguments: str) -> list[str]:
    fixed = [part for change in SMALL for part in ("--set", change)]
    return [sys.executable, "-m", "pipelines.sweep", "tried", *arguments, *fixed]


def rows(project: Project, query: str) -> list:
    with sqlite3.connect(project.folder / "mlflow.db") as database:
        return database.execute(query).fetchall()


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A project, and a Prefect server for the workers of a cluster."""
    project = Project(tmp_path_factory.mktemp("sweep") / "project")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    api = {
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_HOME": str(project.folder / ".prefect"), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    server = project.start(
        "prefect", "server", "start", "--host", "127.0.0.1", "--port", port, **api
    )
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{api['PREFECT_API_URL']}/health", timeout=5).close()
            break
        except OSError:
            time.sleep(0.2)
    yield project, api
    os.killpg(server.pid, signal.SIGKILL)
    project.end()


def wait_for(path, process) -> None:
    for _ in range(3000):
        if path.exists():
            return
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.1)
    raise AssertionError(f"{path} did not come")


def test_a_sweep_that_was_killed_goes_on_with_dask_and_its_best_is_taken(swept):
    project, api = swept
    sweep = project.folder / "sweeps" / "tried"
    first = project.start(*command(*VARY, "--workers", "1"), **api)
    wait_for(sweep / "001" / "checkpoints" / "step-00000020", first)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    judged = (sweep / "000" / "reports" / "metrics.json").stat().st_mtime_ns

    done = project.run(sys.executable, "-m", "pipelines.sweep", "tried", "--runner", "dask", **api)
    assert (sweep / "000" / "reports" / "metrics.json").stat().st_mtime_ns == judged, "done again"
    assert "take it" in done.stdout
    table = (sweep / "table.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[1] for line in table[1:]] == ["complete"] * 2
    assert (sweep / "sweep.png").stat().st_size > 5000
    values = [float(line.split(",")[2]) for line in table[1:]]
    best = min(range(2), key=values.__getitem__)

    parents = rows(project, "SELECT value FROM tags WHERE key = 'mlflow.parentRunId'")
    ((parent,),) = rows(project, "SELECT run_uuid FROM runs WHERE name = 'sweep-tried'")
    assert parents == [(parent,)] * 2, "two runs under one"
    assert rows(
        project, f"SELECT value FROM tags WHERE key = 'best' AND run_uuid = '{parent}'"
    ) == [(f"train.seed={best + 1}",)]

    taken = project.run(sys.executable, "-m", "pipelines.sweep", "tried", "--take", **api).stdout
    assert f"trial {best}: frechet" in taken
    assert "this training was completed before" in taken
    assert f"train.seed: 0 -> {best + 1}" in taken
    figures = json.loads((project.folder / "reports" / "metrics.json").read_text())
    # The same file, judged with other threads: other last bits.
    assert figures["frechet"] == pytest.approx(values[best], rel=1e-5)
    assert rows(project, "SELECT name FROM model_versions") == [("tiny",)]


def test_trials_run_on_ray_and_one_that_cannot_be_trained_stops_no_other(swept):
    project, api = swept
    fixed = [part for change in SMALL for part in ("--set", change)]
    # Drawn with this seed: 16 images in one part, and 16 in three, which is refused.
    vary = ("--vary", "train.accumulate=1,3", "--vary", "train.batch_size=16,18", "--seed", "7")
    command = (sys.executable, "-m", "pipelines.sweep", "wide", *vary, "--search", "random",
               "--trials", "2", "--runner", "ray")  # fmt: skip
    project.run(*command, *fixed, RAY_USAGE_STATS_ENABLED="0", **api)
    table = (project.folder / "sweeps/wide/table.csv").read_text(encoding="utf-8").splitlines()
    assert table[0].startswith("trial,state,frechet,train.accumulate,train.batch_size")
    assert table[1].startswith("0,complete,")
    assert table[2].startswith("1,fail,,3,16,")
    assert "train.batch_size" in table[2].rpartition(",16,")[2], "why"

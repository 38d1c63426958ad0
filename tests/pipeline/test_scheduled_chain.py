"""Protects: two runs at once, scheduled runs and runs with bad input end as their users expect."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.pipeline.conftest import Project
from tests.pipeline.test_killed_chain import wait_for_step

pytestmark = pytest.mark.timeout(600)


def test_bad_input_is_one_clear_line_and_no_retry(project):
    began = time.monotonic()
    done = project.retrain("train.stepz=3", "prepare.resolution=2", check=False)
    assert done.returncode == 2
    assert done.stdout.splitlines() == [
        "retrain: params.yaml: 2 problems",
        "  prepare.resolution: must be at least 4, got 2",
        "  train.stepz: unknown key. Did you mean train.steps?",
    ]
    assert time.monotonic() - began < 20
    done = project.retrain("prepare.source=folder", "prepare.path=no/where", check=False)
    assert done.returncode == 2
    assert "retrain: prepare.path: no/where: no such folder or file" in done.stdout
    done = project.retrain(check=False, PREFECT_API_URL="http://127.0.0.1:9/api")
    assert done.returncode == 3
    assert "no Prefect server answers at http://127.0.0.1:9/api" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    empty = project.folder / "data" / "empty"
    empty.mkdir()
    done = project.retrain("prepare.source=folder", "prepare.path=data/empty", check=False)
    assert done.returncode == 2
    assert "retrain: prepare ended with exit code 2: monge: " in done.stdout
    assert "no image found in" in done.stdout
    assert "Retry" not in done.stdout
    assert "Traceback" not in done.stdout


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One project for the tests whose runs follow each other."""
    project = Project(tmp_path_factory.mktemp("scheduled") / "project")
    yield project
    project.end()


@pytest.fixture(scope="module")
def api(shared):
    """A real Prefect server with its database in the project: the environment to find it by."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    api = {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "PREFECT_HOME": str(
        shared.folder / ".prefect"
    )}  # fmt: skip
    missing = shared.run(
        sys.executable, "-m", "pipelines.deployments", "--cron", "0 3 * * *", check=False, **api
    )
    assert missing.returncode == 3
    assert "no Prefect server at" in missing.stdout
    server = shared.start(
        "prefect", "server", "start", "--host", "127.0.0.1", "--port", port, **api
    )
    wait_for_server(port)
    yield api
    _end(server)


def _end(process):
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_two_runs_started_together_have_each_their_own_parameters(shared, api, tiny):
    """The second's are of that run alone, as those of a scheduled one."""
    project = shared
    first = project.start(*project.retrain_command(*tiny), **api)
    wait_for_step(project, 20, first)
    written = (project.folder / "params.yaml").read_bytes()
    scheduled = "from pipelines.retrain import retrain; retrain(changes=['train.seed=5'])"
    second = project.start(sys.executable, "-c", scheduled, **api)
    two = ""
    while "another run is at work in this folder; waiting for it" not in two:
        line = second.stdout.readline()
        assert line, two
        two += line
    # What is written between two stages is for the next run.
    (project.folder / "params.yaml").write_bytes(written.replace(b"seed: 0", b"seed: 7"))
    one, _ = first.communicate(timeout=500)
    assert first.returncode == 0, one
    two += second.communicate(timeout=500)[0]
    assert second.returncode == 0, two
    assert "none. Not promoted: frechet is not nearer" in one
    assert "train.seed: 0 -> 5" in two
    assert written.replace(b"seed: 0", b"seed: 7") == (project.folder / "params.yaml").read_bytes()
    assert seeds_of_versions(project, 2) == {1: 0, 2: 5}
    lock = (project.folder / "dvc.lock").read_text("utf-8")
    assert "--seed 5" in lock


def seeds_of_versions(project, newest):
    """The training's seed of each registered file, by its own contract."""
    seeds = {}
    for number in range(1, newest + 1):
        said = project.run("monge", "inspect", f"models:/tiny/{number}").stdout
        parameters = re.search(r"^  parameters (.*)$", said, re.MULTILINE)
        assert parameters, said
        seeds[number] = json.loads(parameters[1])["seed"]
    return seeds


def test_a_schedule_fires_on_a_real_server(shared, api):
    """FACTS of the pins: with newer SQLAlchemy a schedule never fires, and only the log says so."""
    schedule = shared.start(
        sys.executable, "-m", "pipelines.deployments", "--interval-s", "20", **api
    )
    try:
        assert wait_for_scheduled_run(shared) == "COMPLETED"
    finally:
        _end(schedule)
    assert seeds_of_versions(shared, 3) == {1: 0, 2: 5, 3: 7}


def test_a_schedule_fires_for_a_product_and_chooses_what_is_auto(shared, api, tiny):
    pictures = shared.folder / "pictures"
    pictures.mkdir()
    for n in range(60):
        pixels = np.random.default_rng(n).integers(0, 256, (8, 8), np.uint8)
        Image.fromarray(pixels).save(pictures / f"{n}.png")
    flags = [part for change in tiny if "name" not in change for part in ("--set", change)]
    shared.run("monge", "new", "side", pictures, "--no-run", *flags)
    command = (sys.executable, "-m", "pipelines.deployments", "--interval-s", "20")
    unknown = shared.run(*command, "--product", "other", check=False, **api)
    assert unknown.returncode == 2
    assert "no product is called other. There are: side" in unknown.stdout
    before = len(scheduled_runs(shared))
    schedule = shared.start(*command, "--product", "side", **api)
    try:
        assert wait_for_scheduled_run(shared, before) == "COMPLETED"
    finally:
        _end(schedule)
    assert "side" in shared.run("monge", "models").stdout
    written = yaml.safe_load((shared.folder / "products/side/params.yaml").read_text())
    chosen = [written["prepare"]["colour"], written["train"]["net"], written["train"]["steps"]]
    assert "auto" not in map(str, chosen)


def wait_for_server(port):
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise AssertionError("the Prefect server did not start")


def wait_for_scheduled_run(project, before=0):
    """The state in which the first run ends that a schedule made after so many others."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        ended = scheduled_runs(project)[before:]
        if ended:
            return ended[0]
        time.sleep(1)
    raise AssertionError("no scheduled run ended in time")


def scheduled_runs(project):
    """How those that schedules made have ended, in their order."""
    with sqlite3.connect(project.folder / ".prefect/prefect.db") as database:
        rows = database.execute(
            "select state_type from flow_run where auto_scheduled = 1 order by start_time"
        ).fetchall()
    return [row[0] for row in rows if row[0] in ("COMPLETED", "FAILED", "CRASHED")]

"""Protects: whatever is killed in the chain, the same command ends at the same bits."""

import json
import os
import re
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

pytestmark = pytest.mark.timeout(600)


def weights(project):
    model = onnx.load(project.folder / "models/generator.onnx")
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def same(one, other):
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all((a[name] == b[name]).all() for name in a)


def trainers(project):
    """Process numbers of `monge train` in this project."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                command = Path(f"/proc/{entry}/cmdline").read_text().split("\0")
                folder = os.readlink(f"/proc/{entry}/cwd")
            except OSError:
                continue
            if "train" in command and "python" in command[0] and folder == str(project.folder):
                found.append(int(entry))
    return found


def wait_for_step(project, step, process):
    """Until a checkpoint of at least `step` is there and the training still runs."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        steps = [int(p.name[5:]) for p in project.folder.glob("checkpoints/step-*")]
        running = trainers(project)
        if steps and max(steps) >= step and running:
            return running
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)
    raise AssertionError("no checkpoint in time")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    from tests.pipeline.conftest import TINY, Project

    project = Project(tmp_path_factory.mktemp("undisturbed") / "project")
    project.retrain(*TINY)
    return project


def test_a_killed_training_is_retried_by_the_flow_and_goes_on(project, tiny, undisturbed):
    flow = project.start(*project.retrain_command(*tiny))
    for step in (20, 120):
        for number in wait_for_step(project, step, flow):
            os.kill(number, signal.SIGKILL)
        time.sleep(1)
    output, _ = flow.communicate(timeout=200)
    assert flow.returncode == 0, output
    assert len(re.findall(r"Retry [12]/2 will start", output)) == 2
    assert "going on from" in output
    assert same(project, undisturbed)


def test_the_whole_chain_killed_at_once_is_run_again_to_the_same_bits(project, tiny, undisturbed):
    flow = project.start(*project.retrain_command(*tiny))
    running = wait_for_step(project, 60, flow)
    os.killpg(flow.pid, signal.SIGKILL)
    for number in running:
        with suppress(ProcessLookupError):  # the flow was quick to end it
            os.killpg(os.getpgid(number), signal.SIGKILL)
    flow.wait()
    time.sleep(1)
    assert flow.stdout is not None
    flow.stdout.close()
    output = project.retrain().stdout
    assert "going on from" in output
    assert same(project, undisturbed)


def test_stopping_the_flow_stops_the_training_which_saves_first(project, tiny):
    flow = project.start(*project.retrain_command("train.steps=100000", *tiny[1:]))
    wait_for_step(project, 20, flow)
    os.killpg(flow.pid, signal.SIGINT)  # as a terminal does
    began = time.monotonic()
    output, _ = flow.communicate(timeout=90)
    assert time.monotonic() - began < 60
    assert flow.returncode == 130
    assert "stopped; what was done is kept, and the same command goes on" in output
    assert "Traceback" not in output
    deadline = time.monotonic() + 20
    while trainers(project) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert trainers(project) == []
    newest = max(int(p.name[5:]) for p in project.folder.glob("checkpoints/step-*"))
    assert newest % 20 != 0 or "checkpoint is saved" in output


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


def test_two_runs_started_together_have_each_their_own_parameters(project, tiny):
    """The second's are of that run alone, as those of a scheduled one."""
    import sys

    first = project.start(*project.retrain_command(*tiny))
    wait_for_step(project, 20, first)
    written = (project.folder / "params.yaml").read_bytes()
    scheduled = "from pipelines.retrain import retrain; retrain(changes=['train.seed=5'])"
    second = project.start(sys.executable, "-c", scheduled)
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
    assert "tiny version 1. Promoted" in one
    assert "train.seed: 0 -> 5" in two
    assert written.replace(b"seed: 0", b"seed: 7") == (project.folder / "params.yaml").read_bytes()
    assert seeds_of_versions(project) == {1: 0, 2: 5}
    lock = (project.folder / "dvc.lock").read_text("utf-8")
    assert "--seed 5" in lock


def seeds_of_versions(project):
    """The training's seed of each registered file, by its own contract."""
    seeds = {}
    for number in (1, 2):
        said = project.run("monge", "inspect", f"models:/tiny/{number}").stdout
        parameters = re.search(r"^  parameters (.*)$", said, re.MULTILINE)
        assert parameters, said
        seeds[number] = json.loads(parameters[1])["seed"]
    return seeds


def test_a_schedule_fires_on_a_real_server(project, tiny):
    """FACTS of the pins: with newer SQLAlchemy a schedule never fires, and only the log says so."""
    import socket
    import sys

    project.retrain(*tiny)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    api = {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "PREFECT_HOME": str(
        project.folder / ".prefect"
    )}  # fmt: skip
    missing = project.run(
        sys.executable, "-m", "pipelines.deployments", "--cron", "0 3 * * *", check=False, **api
    )
    assert missing.returncode == 3
    assert "no Prefect server at" in missing.stdout
    server = project.start(
        "prefect", "server", "start", "--host", "127.0.0.1", "--port", port, **api
    )
    schedule = None
    try:
        wait_for_server(port)
        schedule = project.start(
            sys.executable, "-m", "pipelines.deployments", "--interval-s", "20", **api
        )
        assert wait_for_scheduled_run(project) == "COMPLETED"
    finally:
        for process in (schedule, server):
            if process is not None:
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.communicate(timeout=30)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.communicate()


def wait_for_server(port):
    import urllib.error
    import urllib.request

    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise AssertionError("the Prefect server did not start")


def wait_for_scheduled_run(project):
    """The state in which the first run that the schedule made ends."""
    import sqlite3

    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        with sqlite3.connect(project.folder / ".prefect/prefect.db") as database:
            rows = database.execute(
                "select state_type from flow_run where auto_scheduled = 1 order by start_time"
            ).fetchall()
        ended = [row[0] for row in rows if row[0] in ("COMPLETED", "FAILED", "CRASHED")]
        if ended:
            return ended[0]
        time.sleep(1)
    raise AssertionError("no scheduled run ended in time")

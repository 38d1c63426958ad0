"""Protects: whatever is killed in the chain, the same command ends at the same bits."""

import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

pytestmark = pytest.mark.timeout(600)


def weights_of(project):
    model = onnx.load(project.folder / "models/generator.onnx")
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


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
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        steps = [int(p.name[5:]) for p in project.folder.glob("checkpoints/step-*")]
        running = trainers(project)
        if steps and max(steps) >= step and running:
            return running
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)
    raise AssertionError("no checkpoint in time")


def test_a_run_that_is_stopped_killed_and_killed_whole_ends_at_the_same_bits(project, tiny):
    command = project.retrain_command("train.steps=600", *tiny[1:])

    # Stopped, as a terminal does it: the training saves first.
    flow = project.start(*command)
    wait_for_step(project, 20, flow)
    os.killpg(flow.pid, signal.SIGINT)
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
    stopped = max(int(p.name[5:]) for p in project.folder.glob("checkpoints/step-*"))
    assert stopped % 20 != 0 or "checkpoint is saved" in output

    # The training killed twice: the flow tries again. Then the whole chain at once.
    flow, said = project.start(*command), ""
    for attempt, step in ((1, stopped + 20), (2, stopped + 120)):
        for number in wait_for_step(project, step, flow):
            os.kill(number, signal.SIGKILL)
        while f"Retry {attempt}/2 will start" not in said:
            line = flow.stdout.readline()
            assert line, said
            said += line
    running = wait_for_step(project, stopped + 200, flow)
    os.killpg(flow.pid, signal.SIGKILL)
    for number in running:
        with suppress(ProcessLookupError):  # the flow was quick to end it
            os.killpg(os.getpgid(number), signal.SIGKILL)
    flow.wait()
    flow.stdout.close()  # what it started may have it still, so that it never ends
    assert "going on from" in said
    time.sleep(1)

    output = project.retrain().stdout
    assert "going on from" in output
    weights = weights_of(project)
    shutil.rmtree(project.folder / "checkpoints")
    (project.folder / "models/generator.onnx").unlink()
    for stage in ("train", "export"):
        project.run("monge", stage, MONGE_TRACKING="off")
    undisturbed = weights_of(project)
    assert weights.keys() == undisturbed.keys()
    assert all((weights[name] == undisturbed[name]).all() for name in weights)

"""Protects: what a flow started ends with it, however the flow ends, and saves its work first."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines import child

ROOT = Path(__file__).parents[3]
# A child of a child, as a training is DVC's: it takes SIGTERM as a training does.
WORKER = """
import os, pathlib, signal, sys, time
def save(*_):
    pathlib.Path("saved").write_text("yes"); sys.exit(130)
signal.signal(signal.SIGTERM, save)
pathlib.Path("working").write_text(str(os.getpid()))
time.sleep(600)
"""
FLOW = """
import sys
from pipelines import child
child.run(["sh", "-c", "python worker.py; exit $?"], print)
"""


@pytest.fixture
def flow(tmp_path):
    (tmp_path / "worker.py").write_text(WORKER)
    started = subprocess.Popen(
        [sys.executable, "-c", FLOW], cwd=tmp_path, start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    worker = int(wait_for(tmp_path / "working"))
    yield started, worker
    for number in (started.pid, worker):
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            continue
    started.wait()


def wait_for(path):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if path.exists() and path.read_text():
            return path.read_text()
        time.sleep(0.02)
    raise AssertionError(f"no {path}")


def is_gone(number):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_no_orphan_works_on_when_the_flow_is_killed(flow, tmp_path):
    started, worker = flow
    started.kill()
    started.wait()
    assert wait_for(tmp_path / "saved") == "yes"
    assert is_gone(worker)


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 4", 4), ("kill -9 $$", -9), ("kill -15 $$", -15)]
)
def test_a_child_ends_by_its_own_exit_code_or_signal(script, code):
    said: list[str] = []
    ended = child.run(["sh", "-c", f"echo here; echo there >&2; {script}"], said.append)
    assert (ended.code, said) == (code, ["here", "there"])

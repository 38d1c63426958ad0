"""Protects: who promotes ahead of its turn works as told to, once, or leaves without a trace."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines import ahead, child

ROOT = Path(__file__).parents[3]
COMMAND = """
import json, os, sys, time
from pathlib import Path
Path("begun").write_text(str(os.getpid()))
with os.fdopen(int(sys.argv[1])) as pipe:
    line = pipe.readline()
if line:
    folder, environment = json.loads(line)
    print(folder, environment["WORD"], environment["PATH"] != "", flush=True)
    sys.exit(3)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder whose earlier run has come to its end, and a stand-in for the command there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.lock").touch()
    (tmp_path / "reports").mkdir()
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "__init__.py").touch()
    (tmp_path / "pipelines" / "ahead.py").write_text(COMMAND)
    yield tmp_path
    ahead.dismiss()


def begun(folder: Path) -> int:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if (folder / "begun").exists() and (text := (folder / "begun").read_text()):
            return int(text)
        time.sleep(0.02)
    raise AssertionError("it did not begin")


def test_it_works_in_the_folder_and_environment_of_the_moment_and_once(folder):
    ahead.begin()
    lines: list[str] = []
    (folder / "elsewhere").mkdir()
    os.chdir(folder / "elsewhere")
    ended = ahead.run(lines.append, WORD="of the moment")
    assert ended == child.Ended(3, tuple(lines))
    assert lines == [f"{folder / 'elsewhere'} of the moment True"]
    assert ahead.run(lines.append) is None


def test_where_it_is_not_wanted_it_is_gone_at_once(folder):
    ahead.begin()
    number = begun(folder)
    ahead.dismiss()
    assert not Path(f"/proc/{number}").exists()
    assert ahead.run(print) is None


def test_one_that_did_not_live_is_no_one(folder):
    ahead.begin()
    os.kill(begun(folder), 9)
    (waiting,) = ahead._waiting
    waiting.process.wait()
    assert ahead.run(lambda _: None, WORD="x" * 10**6) is None


def test_one_that_waited_long_may_have_other_code_and_is_not_used(folder, monkeypatch):
    ahead.begin()
    number = begun(folder)
    monkeypatch.setattr(ahead, "FRESH_S", 0.0)
    assert ahead.run(print) is None
    assert not Path(f"/proc/{number}").exists()


def test_in_a_project_without_an_earlier_run_none_is_started(folder):
    (folder / "dvc.lock").unlink()
    ahead.begin()
    assert ahead.run(print) is None


def test_what_waits_is_promote_and_says_what_it_would_say(tmp_path):
    end, word = os.pipe()
    command = [sys.executable, "-m", "pipelines.ahead", str(end)]
    process = subprocess.Popen(command, cwd=ROOT, pass_fds=[end], text=True, stderr=subprocess.PIPE)
    os.close(end)
    with os.fdopen(word, "w") as pipe:
        pipe.write(json.dumps([str(tmp_path), dict(os.environ)]) + "\n")
    told = process.communicate(timeout=120)[1]
    plain = subprocess.run(
        [Path(sys.executable).with_name("monge"), "promote"], cwd=tmp_path, text=True,
        capture_output=True,
    )  # fmt: skip
    assert (process.returncode, told) == (plain.returncode, plain.stderr)
    assert "params.yaml" in told


def test_without_a_word_it_does_nothing(tmp_path):
    end, word = os.pipe()
    command = [sys.executable, "-m", "pipelines.ahead", str(end)]
    process = subprocess.Popen(command, cwd=ROOT, pass_fds=[end], stdout=subprocess.PIPE)
    os.close(end)
    os.close(word)
    assert process.communicate(timeout=120)[0] == b""
    assert process.returncode == 0

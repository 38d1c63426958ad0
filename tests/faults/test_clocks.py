"""A clock that is set, by hours or by years: what is a length of time stays as long as it was."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from monge.tracking.spool import own
from pipelines import settings
from pipelines.stack import process


@pytest.fixture(params=[-1e9, 1e9], ids=["back", "forth"])
def jumped(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of day, set to another decade; other clocks go on."""
    real_s = time.time()
    monkeypatch.setattr(time, "time", lambda: real_s + request.param)


@pytest.mark.usefixtures("jumped")
def test_what_is_left_of_a_runs_minutes_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    # The time at which it would end, as one process tells it to another.
    code = "import time; print(time.monotonic() + 600)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    monkeypatch.setenv(settings.UNTIL, told.stdout.strip())
    assert 8.0 < settings.minutes_left() <= 10.0


@pytest.mark.usefixtures("jumped")
def test_a_server_is_as_old_as_its_process() -> None:
    before = float(Path("/proc/uptime").read_text().split()[0])
    child = subprocess.Popen(["sleep", "30"])
    try:
        running = process.Running(child.pid, process.birth(child.pid), time.time(), "made of")
        time.sleep(0.1)
        after = float(Path("/proc/uptime").read_text().split()[0])
        tick = 2 / os.sysconf("SC_CLK_TCK")
        assert 0.1 - tick <= running.age_s <= after - before + tick
    finally:
        child.kill()
        child.wait()


def test_a_clock_that_comes_by_a_time_again_costs_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)
    for _ in range(2):
        spool = own(tmp_path, "run")
        places = [spool.place("grid.png") for _ in range(3)]
        for place in places:
            place.write_bytes(b"picture")
        assert len(set(places)) == 3
        spool.remove()

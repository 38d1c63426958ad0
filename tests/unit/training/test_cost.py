"""What training takes is summed over its parts, and energy is told only where it was counted."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

import pytest

from monge.training.forecast.cost import metered


def _counter(folder: Path, microjoules: int) -> None:
    for name in ("intel-rapl:0", "intel-rapl:0:1", "intel-rapl:1"):  # the middle one is a part
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "energy_uj").write_text(f"{microjoules}\n")
        (folder / name / "max_energy_range_uj").write_text("1000000000\n")


def test_seconds_and_joules_add_up_over_interrupted_parts(tmp_path: Path) -> None:
    ledger, counters = tmp_path / "cost.json", tmp_path / "powercap"
    began_s = time.monotonic()
    _counter(counters, 999_000_000)
    with metered(ledger, "run", counters):
        time.sleep(0.05)
        _counter(counters, 4_000_000)  # past the end of its range: 5 J a package
    with contextlib.suppress(KeyboardInterrupt), metered(ledger, "run", counters):
        _counter(counters, 6_000_000)
        raise KeyboardInterrupt
    with metered(ledger, "other", counters):
        pass
    whole_s = time.monotonic() - began_s
    found = json.loads(ledger.read_text())
    assert found["run"]["joules"] == pytest.approx(2 * (5 + 2))
    assert 0.05 <= found["run"]["seconds"] < whole_s
    assert found["other"]["joules"] == 0.0


def test_a_run_that_was_once_not_counted_has_no_joules(tmp_path: Path) -> None:
    ledger, counters = tmp_path / "cost.json", tmp_path / "powercap"
    with metered(ledger, "run", counters):
        pass
    _counter(counters, 5)
    with metered(ledger, "run", counters):
        _counter(counters, 9)
    assert set(json.loads(ledger.read_text())["run"]) == {"seconds"}


def test_a_damaged_ledger_is_begun_anew(tmp_path: Path) -> None:
    ledger = tmp_path / "cost.json"
    ledger.write_text("{")
    with metered(ledger, "run", tmp_path):
        pass
    assert list(json.loads(ledger.read_text())) == ["run"]

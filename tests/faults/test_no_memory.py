"""Memory that runs out in a stage, here or under the kernel's hand, is told in a line."""

from __future__ import annotations

import mmap
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import typer

from monge import cli, stages
from monge.params import load
from monge.paths import Paths
from pipelines import child
from pipelines.child import Ended
from pipelines.stage import DIED, _failed, stage_exit_code

ROOT = Path(__file__).parents[2]
MUCH = 1 << 62
"""More than an address space has."""


@pytest.mark.parametrize(
    "take",
    [
        lambda: np.zeros(MUCH, np.uint8), lambda: torch.empty(MUCH, dtype=torch.uint8),
        lambda: bytearray(MUCH), lambda: mmap.mmap(-1, MUCH),
    ],
    ids=["numpy", "torch", "python", "kernel"],
)  # fmt: skip
def test_a_stage_without_memory_ends_with_a_line_and_exit_code_3(
    take: Callable[[], object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    codes: list[int] = []
    monkeypatch.setattr(typer.main, "get_command", lambda _: lambda standalone_mode: take())
    monkeypatch.setattr(cli, "_leave", codes.append)
    monkeypatch.setattr(sys, "argv", ["monge", "train"])
    for name in ("stdout", "excepthook"):  # which the command replaces
        monkeypatch.setattr(sys, name, getattr(sys, name))
    cli.main()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("monge: out of memory")
    assert "train.batch_size" in line
    assert codes == [3]


# From its first checkpoint on this process gets no page more than it has.
_CRAMPED = """
import resource
from monge import cli
from monge.training.checkpoints.writer import CheckpointWriter
real = CheckpointWriter.save
def save(self, state, records=()):
    real(self, state, records)
    self.wait()
    with open("/proc/self/statm") as file:
        has = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (has, resource.RLIM_INFINITY))
CheckpointWriter.save = save
cli.main()
"""


def test_a_training_that_runs_out_of_memory_is_told_in_a_line_and_goes_on_afterwards(
    packed_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = ["train.steps=12", "train.checkpoint_every=4", "train.quality_every=8",
               "train.mlp.width=64", "train.device=cpu", "train.threads=1"]  # fmt: skip
    monkeypatch.setenv("MONGE_TRACKING", "off")
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    paths = Paths(tmp_path)
    shutil.copytree(packed_digits, paths.prepared)
    typed = [part for change in changes for part in ("--set", change)]
    ended = subprocess.run(
        [sys.executable, "-c", _CRAMPED, "train", *typed],
        cwd=tmp_path, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert ended.returncode == 3, ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if not line.startswith("train.data")]
    assert line.startswith("monge: out of memory")
    assert line.endswith("What was kept stays.")
    again = stages.train(load(tmp_path / "params.yaml", changes), paths)
    assert (again.resumed_from, again.step) == (4, 12)


def test_a_stage_that_the_kernel_killed_is_said_to_be_and_tried_again() -> None:
    told: list[str] = []
    ended = child.run(["sh", "-c", "echo step 40; kill -9 $$"], told.append)
    by_dvc = Ended(255, ("step 40", "ERROR: failed to run: monge train, exited with -9"))
    for each in (ended, by_dvc):
        state = _failed("train", each)
        assert state.name == DIED, "an outside reason, which is tried again"
        assert state.message is not None
        assert "train ended with exit code" in state.message
        assert "killed (SIGKILL), as the kernel does when memory runs out" in state.message
        assert state.message.endswith("The last that it said: step 40")
    assert stage_exit_code(by_dvc) == -9

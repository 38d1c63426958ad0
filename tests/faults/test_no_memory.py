"""Memory that runs out in a stage, here or under the kernel's hand, is told in a line."""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
import typer

from monge import cli
from pipelines import child
from pipelines.child import Ended
from pipelines.stage import DIED, _failed, stage_exit_code

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

"""Protects: a downloaded source archive, which has no git, runs as a clone does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_dvc_runs_a_stage_without_git_and_leaves_its_settings_alone(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[core]\n    analytics = false\n")
    (tmp_path / "params.yaml").write_text("{}\n")
    (tmp_path / "dvc.yaml").write_text("stages: {one: {cmd: echo 1 > out, outs: [out]}}\n")
    environment = os.environ | {
        "MONGE_PARAMS_FILE": str(tmp_path / "params.yaml"), "PYTHONPATH": str(ROOT),
        "DVC_NO_ANALYTICS": "1",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.frozen_dvc", "repro"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out").read_text() == "1\n"
    assert (tmp_path / ".dvc/config").read_text() == "[core]\n    analytics = false\n"
    assert not (tmp_path / ".dvc/config.local").exists()

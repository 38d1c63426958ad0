"""Protects: what is registered on a server that others read holds no password."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import deploy
from pipelines.deployments import TABLE

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("git", ["https://me:hushhush@h/o/r.git", "https://hushhush@h/o/r.git"])
def test_a_password_in_the_code_s_address_is_refused_and_not_told(
    git: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy.main(["--git", git]) == 2
    said = capsys.readouterr().err
    assert "the server would keep the password and show it" in said
    assert "hushhush" not in said


@pytest.mark.parametrize("git", ["ssh://git@h/o/r.git", "git@h:o/r.git", "https://h/o/r.git"])
def test_an_address_without_one_is_asked_about_the_server_next(
    git: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://u:hushhush@127.0.0.1:9/api")
    assert deploy.main(["--git", git]) == 3
    said = capsys.readouterr().err
    assert "no Prefect server at http://***@127.0.0.1:9/api" in said


def test_a_worker_finds_every_flow_of_the_table() -> None:
    """Prefect looks for what a flow imports in the flow's own folder first."""
    code = (
        "import sys; from prefect.flows import load_flow_from_entrypoint as load\n"
        "for one in sys.argv[1:]: load(one, use_placeholder_flow=False)\n"
    )
    words = [sys.executable, "-P", "-c", code, *(row.flow for row in reversed(TABLE))]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

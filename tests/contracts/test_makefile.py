"""The Makefile notices an environment that was moved with its project, and no other."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
AGAIN = "making .venv again: it was made as"
NAMES = ["plain", 'it\'s a "#1" $HOME Mönge']

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")


@pytest.fixture(params=NAMES)
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A project with an environment that is real, and empty."""
    folder = tmp_path / request.param
    folder.mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("requirements.lock", "requirements-uv.lock"):
        (folder / name).touch()
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", "--clear", ".venv"], cwd=folder, check=True
    )
    (folder / ".venv" / "ready").touch()
    return folder


def said(folder: Path) -> str:
    """What `make` says of the environment; `false` stands for Python, so that nothing is made."""
    done = subprocess.run(
        ["make", "PYTHON=false", ".venv/ready"], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert (folder / ".venv" / "bin" / "python").exists()
    return done.stdout


def test_an_environment_that_is_where_it_was_made_is_left_alone(project: Path) -> None:
    assert "up to date" in said(project)


def test_a_moved_or_copied_one_is_made_again_and_why_is_said(project: Path) -> None:
    place = project / ".venv"
    copy = project.with_name("a copy")
    shutil.copytree(project, copy, symlinks=True)
    assert f"{AGAIN} {place} and works only there\n" in said(copy)
    assert "up to date" in said(project)
    moved = project.rename(project.with_name("moved to here"))
    assert f"{AGAIN} {place} and works only there\n" in said(moved)
    (moved / ".venv" / "pyvenv.cfg").unlink()  # made by another tool: nobody knows where
    assert "up to date" in said(moved)


def test_one_that_several_checkouts_share_is_left_alone(project: Path, tmp_path: Path) -> None:
    checkout = tmp_path / "another checkout"
    checkout.mkdir()
    for name in ("Makefile", "requirements.lock", "requirements-uv.lock", ".venv"):
        (checkout / name).symlink_to(project / name)
    assert "up to date" in said(checkout)
    (tmp_path / "large").mkdir()
    (project / ".venv").rename(tmp_path / "large" / "venv")
    (project / ".venv").symlink_to(tmp_path / "large" / "venv")
    assert "up to date" in said(project), "its scripts go through the link"

"""Protects: a run beside another has files of its own, and leaves what must stay in the project."""

import subprocess
import sys
from pathlib import Path

import pytest

from monge.errors import InputError
from monge.paths import Paths
from pipelines import workspace

PARAMS = "prepare:\n  path: data/raw\n"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A committed project of DVC's, with an edited file and images that git does not know."""
    root = tmp_path / "project"
    for name, text in {
        "params.yaml": PARAMS,
        "dvc.yaml": "stages: {}\n",
        "src/code.py": "committed",
        "src/old.py": "removed since",
        "data/raw/README.md": "put images here",
        ".gitignore": ".monge\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    run = [("git", "init", "--quiet"), (sys.executable, "-m", "dvc", "init", "--quiet")]
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    run += [("git", "add", "-A"), ("git", *who, "commit", "-qm", "one")]
    for command in run:
        subprocess.run(command, cwd=root, check=True, capture_output=True)
    (root / "src/code.py").write_text("edited")
    (root / "src/old.py").unlink()
    (root / "src/new.py").write_text("not added yet")
    (root / "data/raw/cat.png").write_bytes(b"a large image")
    monkeypatch.chdir(root)
    monkeypatch.setenv("PYTHONPATH", "")
    return root


def test_a_run_of_its_own_works_in_a_copy_and_a_killed_one_finds_its_checkpoints(project):
    seen: list[Path] = []

    def work(outcome: str | None) -> str | None:
        here = Path.cwd()
        seen.append(here)
        assert (here / "src/code.py").read_text() == "edited"
        assert not (here / "src/old.py").exists()
        assert (here / "src/new.py").read_text() == "not added yet"
        assert (here / "data/raw/cat.png").read_bytes() == b"a large image"
        assert (here / "data/raw/cat.png").is_symlink()
        assert (here / "params.yaml").read_text() == f"{PARAMS}# of this run\n"
        assert Paths(here).state == project / ".monge"
        for name in ("reports/metrics.json", "checkpoints/step-00000020/state.json", "dvc.lock"):
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            (here / name).write_text(name)
        cache = subprocess.run(
            [sys.executable, "-m", "dvc", "cache", "dir"], capture_output=True, text=True
        ).stdout
        assert Path(cache.strip()) == project / ".dvc/cache"
        return outcome

    told: list[str] = []
    parameters = f"{PARAMS}# of this run\n"
    assert workspace.beside(parameters, lambda: work("failed"), told.append) == "failed"
    assert (seen[0] / "checkpoints/step-00000020").is_dir()

    def again() -> None:
        assert (Path.cwd() / "checkpoints/step-00000020").is_dir()
        work(None)

    workspace.beside(parameters, again, told.append)
    assert seen[0] == seen[1]
    assert not seen[0].exists()
    kept = project / ".monge/workspaces" / seen[0].name
    assert (kept / "reports/metrics.json").read_text() == "reports/metrics.json"
    assert (kept / "params.yaml").read_text() == parameters
    assert Path.cwd() == project
    assert (project / "params.yaml").read_text() == PARAMS
    assert not (project / "dvc.lock").exists()
    assert (project / "data/raw/cat.png").read_bytes() == b"a large image"


def test_without_a_commit_there_is_nothing_to_copy_and_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="git commit"):
        workspace.beside(PARAMS, lambda: None, print)

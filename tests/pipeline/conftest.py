"""Whole projects to run the chain in: copies of this repository's, without its history."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import pytest

from monge.files import locked

ROOT = Path(__file__).parents[2]
COMMANDS = Path(sys.executable).parent
PARTS = ("params.yaml", "dvc.yaml", ".dvcignore", ".gitignore", "pipelines", "src")
TINY = (
    "train.objective=wgan-gp", "train.wgan-gp.critic_steps=2", "train.steps=240",
    "train.batch_size=16", "train.latent_dim=8", "train.mlp.depth=2", "train.mlp.width=32",
    "train.checkpoint_every=20", "train.log_every=20", "train.grid_every=120",
    "evaluate.images=60", "evaluate.transport_images=20", "evaluate.repeats=2",
    "evaluate.projections=8", "evaluate.features=pixels", "promote.name=tiny",
)  # fmt: skip


class Project:
    """A project's folder, and the commands that a person gives in it."""

    def __init__(self, folder: Path, *, with_database: bool = True) -> None:
        self.folder = folder
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                # With the byte code, which saves each a second, but not what is being written.
                shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("*.pyc.*"))
            else:
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, folder / part)
        (folder / ".dvc").mkdir()
        for name in ("config", ".gitignore"):
            shutil.copy(ROOT / ".dvc" / name, folder / ".dvc" / name)
        shutil.copytree(ROOT / "data" / "raw", folder / "data" / "raw")
        subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
        if with_database:
            self._give_database()

    def _give_database(self) -> None:
        """Put an empty database of Prefect's there, which takes it six seconds of a core to make.

        The one that is copied is made once, in pytest's cache, for all processes and runs.
        """
        made = ROOT / ".pytest_cache" / "prefect" / f"{version('prefect')}.db"
        with locked(made.with_suffix(".lock")):
            if not made.exists():
                with tempfile.TemporaryDirectory(dir=made.parent) as home:
                    command = [str(COMMANDS / "prefect"), "server", "database", "upgrade", "--yes"]
                    ours = self.environment | {"PREFECT_HOME": home}
                    subprocess.run(command, env=ours, check=True, capture_output=True)
                    os.replace(Path(home) / "prefect.db", made)
        (self.folder / ".prefect").mkdir()
        shutil.copy(made, self.folder / ".prefect" / "prefect.db")

    @staticmethod
    def root() -> Path:
        """The repository that projects are copied from."""
        return ROOT

    @property
    def environment(self) -> dict[str, str]:
        path = f"{COMMANDS}{os.pathsep}{os.environ['PATH']}"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
        kept.pop("PYTHONDONTWRITEBYTECODE", None)
        ours = {"HOME": str(self.folder.parent), "DVC_NO_ANALYTICS": "1"}
        return kept | {"PATH": path, "MONGE_RETRY_DELAYS_S": "1,2", **ours}

    def run(self, *command, check=True, **environment) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(part) for part in command], cwd=self.folder, text=True, timeout=560,
            env=self.environment | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout
        return done

    def start(self, *command, **environment) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [str(part) for part in command], cwd=self.folder, text=True, start_new_session=True,
            env=self.environment | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.__dict__.setdefault("started", []).append(process)
        return process

    def end(self) -> None:
        """End what a failed test has left, so that no other test is blamed for it."""
        for process in self.__dict__.pop("started", []):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()

    def retrain(self, *changes, check=True, **environment) -> subprocess.CompletedProcess[str]:
        return self.run(*self.retrain_command(*changes), check=check, **environment)

    @staticmethod
    def retrain_command(*changes: str) -> list[str]:
        flags = [part for change in changes for part in ("--set", change)]
        return [sys.executable, "-m", "pipelines", *flags]


@pytest.fixture
def project(tmp_path):
    """A fresh project with tiny parameters still to be set: `project.retrain(*TINY)`."""
    project = Project(tmp_path / "project")
    yield project
    project.end()


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The embedded default, run through once: what `make run` leaves in a fresh clone."""
    import time

    project = Project(tmp_path_factory.mktemp("default") / "project", with_database=False)
    began = time.monotonic()
    done = project.retrain()
    return project, done.stdout, time.monotonic() - began


@pytest.fixture
def tiny():
    return TINY

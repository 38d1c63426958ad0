"""DVC with the parameters of a run, which were fixed when it began, in the place of params.yaml.

    MONGE_PARAMS_FILE=FILE python -m pipelines.frozen_dvc repro --single-item train

DVC fills the commands of dvc.yaml in from params.yaml as it is when it starts, and a chain starts
it once for each stage: what somebody writes into the file between two stages is not for this run.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from monge.params import PARAMS_FILE


def main(arguments: list[str]) -> int:
    """Run a command of DVC's."""
    with tempfile.TemporaryDirectory() as folder:
        if not _in_git(Path.cwd()):
            allow_no_git(Path(folder))
        import dvc.parsing
        from dvc.cli import main as dvc_main

        dvc.parsing.DEFAULT_PARAMS_FILE = os.environ[PARAMS_FILE]
        return int(dvc_main(arguments))


def _in_git(folder: Path) -> bool:
    return any((around / ".git").exists() for around in (folder, *folder.parents))


def allow_no_git(folder: Path) -> None:
    """Let DVC work in a source archive, by a setting that is this process's alone.

    In the project's own settings it would stay, and DVC would go on without git after `git init`.
    """
    (folder / "config").write_text("[core]\n    no_scm = true\n", encoding="utf-8")
    os.environ["DVC_SYSTEM_CONFIG_DIR"] = str(folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

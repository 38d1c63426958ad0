"""DVC with the parameters of a run, which were fixed when it began, in the place of params.yaml.

    MONGE_PARAMS_FILE=FILE python -m pipelines.frozen_dvc repro --single-item train

DVC fills the commands of dvc.yaml in from params.yaml as it is when it starts, and a chain starts
it once for each stage: what somebody writes into the file between two stages is not for this run.
"""

from __future__ import annotations

import os
import sys

from monge.params import PARAMS_FILE


def main(arguments: list[str]) -> int:
    """Run a command of DVC's."""
    import dvc.parsing
    from dvc.cli import main as dvc_main

    dvc.parsing.DEFAULT_PARAMS_FILE = os.environ[PARAMS_FILE]
    return int(dvc_main(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

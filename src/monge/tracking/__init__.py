"""Sends a training's figures to MLflow from a thread, spooled on this disk first."""

from monge.tracking.environment import environment
from monge.tracking.revision import Revision, code_revision, revision
from monge.tracking.run import NullRun, Run, open_run, run_name

__all__ = [
    "NullRun", "Revision", "Run", "code_revision", "environment", "open_run", "revision",
    "run_name",
]  # fmt: skip

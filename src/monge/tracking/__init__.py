"""Where a training's figures go: spooled on this disk first, then sent to MLflow from a thread."""

from monge.tracking.environment import environment
from monge.tracking.revision import Revision, revision
from monge.tracking.run import NullRun, Run, open_run, run_name

__all__ = ["NullRun", "Revision", "Run", "environment", "open_run", "revision", "run_name"]

"""The facts of the machine and the code that a run is logged with."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path

from monge.tracking.revision import code_revision

PARENT = "MONGE_PARENT_RUN"
"""The environment variable with the MLflow run that others stand under, as a sweep's trials."""


def environment(root: Path | None = None) -> dict[str, str]:
    """Python, package versions, platform, processors, device, and revision of `root`, as tags.

    The device is told only when torch is imported already: its import takes seconds.
    """
    facts = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": str(os.cpu_count()),
    }
    for package in ("monge", "torch", "numpy", "onnxruntime-gpu", "onnxruntime"):
        try:
            facts[f"version.{package}"] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    torch = sys.modules.get("torch")
    if torch is not None:
        cuda = torch.cuda.is_available()
        facts["device"] = torch.cuda.get_device_name() if cuda else "cpu"
    parent = os.environ.get(PARENT)
    if parent:
        facts["mlflow.parentRunId"] = parent
    return facts | _git(root or Path.cwd())


def _git(root: Path) -> dict[str, str]:
    """Commit, and whether the code differs from it; nothing where there is none."""
    found = code_revision(root)
    if found is None:
        return {}
    return {"git.revision": found.commit, "git.dirty": str(bool(found.difference)).lower()}

"""The facts of the machine and the code that a run is logged with."""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

from monge.tracking.revision import code_revision

PARENT = "MONGE_PARENT_RUN"
"""The environment variable with the MLflow run that others stand under, as a sweep's trials."""

FLOW_RUN = "MONGE_FLOW_RUN"
"""The environment variable with the run of Prefect that asks for a stage: tags, as JSON."""


def environment(root: Path | None = None) -> dict[str, str]:
    """Python, packages, platform, processors, device, who asks, and revision of `root`, as tags.

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
    return facts | asked() | _git(root or Path.cwd())


def asked() -> dict[str, str]:
    """Name the run of Prefect that asks for this, as tags; nothing where none does."""
    try:
        found = json.loads(os.environ.get(FLOW_RUN) or "{}")
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {str(name): str(value) for name, value in found.items()}


def _git(root: Path) -> dict[str, str]:
    """Commit, and whether the code differs from it; nothing where there is none."""
    found = code_revision(root)
    if found is None:
        return {}
    return {"git.revision": found.commit, "git.dirty": str(bool(found.difference)).lower()}

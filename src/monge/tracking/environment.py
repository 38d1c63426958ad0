"""The facts of the machine and the code that a run is logged with."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path


def environment(root: Path | None = None) -> dict[str, str]:
    """Python, package versions, platform, processors, device, and git revision of `root`, as tags.

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
    return facts | _git(root)


def _git(root: Path | None) -> dict[str, str]:
    """Revision and dirtiness; nothing outside a repository or without git."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=20
        ).stdout.strip()

    try:
        revision = git("rev-parse", "HEAD")
        dirty = git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"git.revision": revision, "git.dirty": str(bool(dirty)).lower()}

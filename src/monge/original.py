"""Finds a folder's project: DVC runs experiments in temporary copies, then deletes them.

`dvc exp run --temp` and the queue's workers copy the repository to
`<project>/.dvc/tmp/exps/standalone/tmp...` or `.../celery/tmp...`. What is to be remembered of an
experiment must not be in there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_COPIES = Path(".dvc", "tmp", "exps")


def original(root: Path) -> Path:
    """The project whose temporary copy `root` is, also a copy's copy; else `root`. Resolved."""
    root = root.resolve()
    for project, copies in _projects(root):
        copy = _repository(root, below=copies)
        if copy is not None:
            # The copy is of the whole repository, in which the project may be a folder.
            whole = _repository(project) or project
            there = whole / root.relative_to(copy)
            return original(there if there.is_dir() else project)
    return root


def _projects(root: Path) -> Iterator[tuple[Path, Path]]:
    """Projects in whose folder of copies `root` lies, and that folder; the nearest first."""
    for copies in root.parents:
        if copies.parts[-3:] == _COPIES.parts:
            yield copies.parents[2], copies
    # DVC tells a stage which project it is for, which finds one whose `.dvc/tmp` is a link.
    told = os.environ.get("DVC_ROOT")
    if told:
        copies = (Path(told) / _COPIES).resolve()
        if copies in root.parents:
            yield Path(told).resolve(), copies


def _repository(folder: Path, below: Path | None = None) -> Path | None:
    """The Git repository that `folder` is in, if it lies below another folder."""
    for candidate in (folder, *folder.parents):
        if candidate == below:
            return None
        if (candidate / ".git").exists():
            return candidate
    return None

"""Holds `dvc.lock` and the training against the code that is here now.

DVC hashes the files of a stage's code and cannot know what ran: `dvc commit --force` after an edit
has it say that the new code made the old weights. The training knows its code better.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from monge.errors import CheckpointMismatch
from monge.params import TrainParams
from monge.paths import Paths
from monge.products import home
from monge.stages import dvc_lock
from monge.tracking.revision import CODE

_PACKAGE = "monge"


def has_this_code(paths: Paths) -> bool:
    """Tell whether all of the lock's stages ran with the code that is here now, by its hashes."""
    code = home(paths.root) / CODE
    named = {
        (Path(os.path.abspath(paths.root / path)), md5)
        for path, md5 in dvc_lock.dependencies(paths)
    }
    ours = [(path, md5) for path, md5 in named if path.is_relative_to(code)]
    return bool(ours) and all(path.exists() and _md5(path) == md5 for path, md5 in ours)


def other_code(paths: Paths) -> list[str]:
    """The definitions that made the checkpoints and are others here now, by name.

    None where the training says nothing of its code, or there is no checkout of it.
    """
    from monge.training.checkpoints import record
    from monge.training.code.identity import changed, code_identity

    found = record.read(paths.checkpoints) or {}
    made, asked = record.identity(found, "code"), record.parameters(found)
    package = home(paths.root) / CODE / _PACKAGE
    if made is None or asked is None or not package.is_dir():
        return []
    return changed(made, code_identity(TrainParams.model_validate(asked), package))


def require_true(paths: Paths) -> None:
    """Raise CheckpointMismatch where the lock says that this code made what another one made."""
    other = other_code(paths) if has_this_code(paths) else []
    if other:
        raise CheckpointMismatch(
            f"dvc.lock says that the code as it is now made {paths.checkpoints}, and it is not so "
            f"({', '.join(other[:4])}). `make run` trains anew and sets it right, or put the code "
            "back."
        )


def _md5(path: Path) -> str:
    """DVC's hash of a file or a folder, without what .dvcignore names of code."""
    if path.is_file():
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    files = sorted(
        (file.relative_to(path).as_posix(), file) for file in path.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".pyc"
    )  # fmt: skip
    listed = [{"md5": _md5(file), "relpath": name} for name, file in files]
    text = json.dumps(listed, sort_keys=True).encode("utf-8")
    return hashlib.md5(text, usedforsecurity=False).hexdigest() + ".dir"

"""Reads the code that a project is at: git's commit, and the difference from it, if any."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import monge
from monge.products import home

CHANGED = "+changed"
"""Behind a commit: the files were not those of the commit."""

MOST_BYTES = 4 << 20
"""The longest difference kept; a longer one is somebody's data, and only said to be there."""

# What a run writes itself, or what is kept word for word beside every run: no difference of code.
_NOT_CODE = (
    ":(exclude)params.yaml", ":(exclude)dvc.lock", ":(exclude,glob)**/*.dvc",
    ":(exclude,glob)**/.gitignore", ":(exclude)reports", ":(exclude)products",
)  # fmt: skip
CODE = "src"
"""The folder of a checkout that has the package."""

_CODE = (CODE, "pipelines", "dvc.yaml", "pyproject.toml")
"""The places in which a file that git does not know yet counts."""


@dataclass(frozen=True)
class Revision:
    """A commit, and the difference of the tree from it as `git apply` reads it, empty if none."""

    commit: str
    difference: str = ""

    def __str__(self) -> str:
        return f"{self.commit}{CHANGED if self.difference else ''}"


def revision(root: Path) -> Revision | None:
    """Read where the checkout of `root` is; None without git, outside it, before a commit."""
    return _revision(home(root))


def code_revision(root: Path) -> Revision | None:
    """The revision of the code that runs for a project: that of the checkout that it lies in.

    It is another one's where a project is worked on with the environment of its original, and that
    of DVC's temporary copy in an experiment. A package that is installed has none of its own.
    """
    own, package = home(root), Path(monge.__file__).resolve().parent
    in_a_checkout = package.parent.name == CODE and (own / CODE / package.name).is_dir()
    return _revision(package.parents[1] if in_a_checkout else own)


def _revision(root: Path) -> Revision | None:
    git = functools.partial(_git, root.resolve())
    try:
        commit = git("rev-parse", "--verify", "--quiet", "HEAD").decode("ascii").strip()
        with tempfile.TemporaryDirectory() as folder:
            # A copy of the index: it knows which files are as they were, and stays as it is. It has
            # the index's time, by which git tells a file that was edited just after it was added.
            index = root / os.fsdecode(git("rev-parse", "--git-path", "index")).strip()
            aside = {"GIT_INDEX_FILE": shutil.copy2(index, folder)}
            git("add", "--update", "--", ".", *_NOT_CODE, **aside)
            there = [name for name in _CODE if (root / name).exists()]
            git("add", "--", *there, **aside) if there else None
            shown = ("--cached", "--binary", "--relative", "HEAD", "--", ".", *_NOT_CODE)
            found = git("diff", *shown, **aside)
    except (OSError, subprocess.SubprocessError):
        return None
    if len(found) > MOST_BYTES:
        return Revision(commit, f"# {len(found):,} bytes, too many to be kept\n")
    return Revision(commit, found.decode("utf-8", "surrogateescape"))


def last_change(root: Path, names: Sequence[str]) -> str | None:
    """Return the commit that last changed files, marked where they were changed since.

    None where git has none of them.
    """
    try:
        commit = _git(root, "log", "-1", "--format=%H", "--", *names).decode("ascii").strip()
        changed = _git(root, "status", "--porcelain", "--", *names) if commit else b""
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}{CHANGED if changed else ''}" if commit else None


def _git(root: Path, *arguments: str, **environment: str) -> bytes:
    # A hook's GIT_DIR or GIT_INDEX_FILE would point to another repository than the project's.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        ["git", "-c", "core.safecrlf=false", *arguments],
        cwd=root, env=kept | environment, capture_output=True, check=True, timeout=60,
    ).stdout  # fmt: skip

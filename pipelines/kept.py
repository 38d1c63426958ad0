"""A checkout that is kept on a worker's machine, for runs whose own clone goes when they end.

The clone brings the commit; the run works here, where checkpoints, DVC's cache and lock, figures
that wait for their server, and reports are what the run before left, however that one ended.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from monge.errors import StorageError
from monge.files import write_whole
from pipelines import child

GIT_ENDS_S = 10.0
"""The time after which a lock of git's is taken for that of a dead one."""

# What runs write among the files that a commit may have: kept until a commit changes them.
_WRITTEN = (":(glob)**/params.yaml", ":(glob)**/dvc.lock", ":(glob)**/.gitignore")


def follow(clone: Path, root: Path, log: Callable[[str], None]) -> None:
    """Bring the kept checkout to the clone's commit. Raises StorageError when git cannot."""
    if not (root / ".git").exists():
        _git(root, "init", "--quiet")
    _forget_killed(root / ".git", log)
    # A worker's clone may be shallow, of the newest commit alone; one commit is all that is needed.
    source = f"file://{clone.resolve()}"
    _git(root, "fetch", "--quiet", "--depth", "1", "--update-shallow", source, "HEAD")
    new, written = _git(root, "rev-parse", "FETCH_HEAD"), _written(root)
    _git(root, "checkout", "--quiet", "--force", "--detach", new)
    for name, content in written.items():
        write_whole(root / name, content)
    log(f"working in {root}, which is kept, at commit {new[:12]}")


def _forget_killed(folder: Path, log: Callable[[str], None]) -> None:
    """Remove the locks of a git that was killed with its run: no git goes past one, ever.

    We alone are at work here, save for a git whose run was killed, which ends within seconds.
    """
    found = [*folder.glob("*.lock"), *folder.glob("refs/**/*.lock")]
    deadline = time.monotonic() + GIT_ENDS_S
    while any(lock.exists() for lock in found) and time.monotonic() < deadline:
        time.sleep(0.1)
    for lock in found:
        if lock.exists():
            lock.unlink(missing_ok=True)
            log(f"a git was killed here: its lock {lock} is removed")


def fetch_data(root: Path, log: Callable[[str], None]) -> None:
    """Bring what DVC versions by itself, such as the images, from its remote where there is one."""
    pointers = _git(root, "ls-files", "*.dvc").splitlines()
    if not pointers:
        return
    asked = [sys.executable, "-m", "dvc", "remote", "list"]
    remotes = subprocess.run(asked, cwd=root, capture_output=True, text=True)
    command = ["dvc", "pull" if remotes.stdout.strip() else "checkout", *pointers]
    ended = child.run(command, log)
    if ended.code and not all((root / name.removesuffix(".dvc")).exists() for name in pointers):
        raise StorageError(f"`{' '.join(command)}` failed: {ended.tail[-1] if ended.tail else ''}")


def lines(root: Path, *arguments: str) -> list[str]:
    """The names that a git command prints with -z."""
    return [name for name in _git(root, *arguments).split("\0") if name]


def _written(root: Path) -> dict[str, bytes]:
    """Read what runs wrote into files of the old commit that the new one leaves as they were."""
    if not _git(root, "rev-parse", "--verify", "--quiet", "HEAD", check=False):
        return {}
    mine = _git(root, "diff", "--name-only", "HEAD", "--", *_WRITTEN).splitlines()
    theirs = _git(root, "diff", "--name-only", "HEAD", "FETCH_HEAD", "--", *_WRITTEN).splitlines()
    there = [name for name in mine if name not in theirs and (root / name).is_file()]
    return {name: (root / name).read_bytes() for name in there}


def _git(root: Path, *arguments: str, check: bool = True) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", *arguments], cwd=root, env=kept, capture_output=True, text=True, timeout=600
    )
    if check and done.returncode:
        told = (done.stderr.strip().splitlines() or ["no word of why"])[-1]
        raise StorageError(f"{root}: git {arguments[0]} failed: {told}")
    return done.stdout.strip()

"""A run in a folder of its own, beside another that is at work in the project's.

It is a copy of the project's files as they are now, edited ones too, where DVC puts the copies of
its experiments: what belongs to the project (figures, registry, waiting figures) goes to the
project, DVC's cache is shared, and the rest is the run's own. The name is that of its parameters
and files, so that the same run, killed, finds its checkpoints. When it has ended well, parameters,
lock and reports are kept and the copy goes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from monge.errors import InputError
from monge.files import remove, write_whole
from monge.params.file import read
from monge.paths import Paths
from monge.products import home
from monge.tracking.revision import revision
from pipelines import kept, place, settings, turn

WORKSPACE = "MONGE_WORKSPACE"
"""The environment variable with `own` for a run of `python -m pipelines` in a workspace."""

COPIES = Path(".dvc", "tmp", "exps", "standalone")


def beside(parameters: str, work: Callable[[], Any], log: Callable[[str], None]) -> Any:
    """Do the work in a copy; what came out. The copy goes when that is None, as for a whole chain.

    Raises InputError outside a commit, from which alone a copy can be made.
    """
    here = Path.cwd()
    project, code = home(here), revision(here)
    if code is None:
        raise InputError(
            "a workspace of its own is made from a commit, and there is none here: `git init`, "
            "`git add`, `git commit`, or let the run wait for its turn."
        )
    name = hashlib.sha256(f"{parameters}\n{code.commit}\n{code.difference}".encode()).hexdigest()
    copy = project / COPIES / f"run-{name[:12]}"
    copy.mkdir(parents=True, exist_ok=True)
    with turn.taken(copy, log, turn.KEPT):
        images = str(_images_of(parameters))
        _copy(project, copy, images, log)
        there = copy / here.resolve().relative_to(project)
        write_whole(there / settings.FILE, parameters.encode("utf-8"))
        _share(here / images, there / images)
        place.find_first(copy, copy / "src")
        os.chdir(there)
        try:
            outcome = work()
        finally:
            os.chdir(here)
        if outcome is None:
            aside = Paths(here).state / "workspaces" / copy.name
            _keep(there, aside)
            remove(copy, ignore_errors=True)
            log(f"the workspace is removed; its parameters, lock and reports are in {aside}")
    return outcome


def _copy(project: Path, copy: Path, images: str, log: Callable[[str], None]) -> None:
    """The project's commit, and over it the files that differ from it; DVC's cache is shared."""
    if not (copy / ".git").exists():
        kept.follow(project, copy, log)
    different = kept.lines(project, "ls-files", "-z", "--modified")
    new = kept.lines(project, "ls-files", "-z", "--others", "--exclude-standard")
    for name in (*different, *(name for name in new if not name.startswith(f"{images}/"))):
        if os.path.lexists(project / name):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            remove(copy / name, ignore_errors=True)
            shutil.copy2(project / name, copy / name, follow_symlinks=False)
        else:
            remove(copy / name, ignore_errors=True)
    asked = [sys.executable, "-m", "dvc", "cache", "dir"]
    cache = subprocess.run(asked, cwd=project, capture_output=True, text=True, check=True).stdout
    subprocess.run([*asked, "--local", cache.strip()], cwd=copy, check=True, capture_output=True)


def _images_of(parameters: str) -> str:
    """Find where the images are by a run's parameters."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / settings.FILE
        file.write_text(parameters, encoding="utf-8")
        return str(read(file)["prepare"]["path"]).rstrip("/")


def _share(images: Path, there: Path) -> None:
    """Have the images that git does not know looked up where they are."""
    if not images.exists() or images == there:
        return
    if not there.exists():
        there.parent.mkdir(parents=True, exist_ok=True)
        there.symlink_to(images.resolve())
    elif there.is_dir() and not there.is_symlink():
        for each in images.iterdir():
            if not os.path.lexists(there / each.name):
                (there / each.name).symlink_to(each.resolve())


def _keep(there: Path, aside: Path) -> None:
    """Copy what a person may want of a run that ended well; links into the cache as files."""
    remove(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for part in ("params.yaml", "dvc.lock"):
        if (there / part).exists():
            shutil.copy2(there / part, aside / part)
    shutil.copytree(there / "reports", aside / "reports")

"""A training that was completed once is not done again: it is found by settings, images and code.

It may have been set aside for another one, or lie in DVC's cache, which keeps what was made.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from monge.files import remove
from monge.training.checkpoints import checkpoint
from monge.training.checkpoints.checkpoint import Checkpoint
from monge.training.checkpoints.fine_tuning import began_as
from monge.training.checkpoints.record import ORIGIN
from monge.training.checkpoints.resume import changes, set_aside, set_aside_folder
from monge.training.context import Training

_MOST_LISTED_BYTES = 1 << 20  # a training's files are some dozens, an unpacked dataset's millions
_MOST_STATE_BYTES = 4 << 20
_STATE = re.compile(r"step-(\d{8,})/state\.json")
_MD5 = re.compile(r"[0-9a-f]{32}")

Listed = dict[str, Path]
"""The paths in DVC's cache of the files of a folder, by their names in it."""

log = logging.getLogger(__name__)


def take_up(training: Training, caches: Sequence[str]) -> bool:
    """Put a complete training of just this kind into its folder; whether there is one.

    What the folder held is set aside. Killed anywhere, the next call completes it.
    """
    folder = training.folder
    waiting = folder.with_name(f".{folder.name}.earlier")
    where = _set_aside(training, waiting)
    if where is None:
        where = _from_caches(training, caches, waiting)
    if where is None:
        return False
    set_aside(folder)
    waiting.rename(folder)
    log.info(
        "this training was completed before, with the same settings, images and code: taken from "
        "%s. `monge train --fresh` does it anew", where,
    )  # fmt: skip
    return True


def _set_aside(training: Training, waiting: Path) -> Path | None:
    """Move one that was set aside to where it waits; where it was."""
    aside = set_aside_folder(training.folder)
    for place in (waiting, aside):
        found = checkpoint.latest(place)
        if found is not None and _is_it(found, training, place / ORIGIN):
            if place != waiting:
                remove(waiting, ignore_errors=True)
                place.rename(waiting)
            return aside
    remove(waiting, ignore_errors=True)
    return None


def _from_caches(training: Training, caches: Sequence[str], waiting: Path) -> Path | None:
    """Copy one that a cache has to where it waits; which cache."""
    for cache in map(Path, caches):
        for listed in _folders(cache):
            found = _newest(listed)
            began = listed.get(ORIGIN, waiting / ORIGIN)
            if found is None or not _is_it(found, training, began) or not _copied(listed, waiting):
                continue
            whole = checkpoint.latest(waiting)
            if whole is not None and _is_it(whole, training, waiting / ORIGIN):
                return cache
            remove(waiting, ignore_errors=True)
    return None


def _is_it(found: Checkpoint, training: Training, origin: Path) -> bool:
    whole = found.step >= training.params.steps and not changes(found, training)
    return whole and began_as(training, origin)


def _folders(cache: Path) -> Iterator[Listed]:
    """Yield the folders that a cache keeps and that may be a training's."""
    for file in sorted(cache.glob("files/md5/??/*.dir")):
        try:
            entries = json.loads(file.read_bytes()) if _is_small(file) else []
            listed = {str(entry["relpath"]): _place(cache, entry) for entry in entries}
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if any(map(_STATE.fullmatch, listed)):
            yield listed


def _is_small(file: Path) -> bool:
    return file.stat().st_size <= _MOST_LISTED_BYTES


def _place(cache: Path, entry: dict[str, Any]) -> Path:
    md5, path = str(entry["md5"]), PurePosixPath(str(entry["relpath"]))
    if not _MD5.fullmatch(md5) or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"no entry of a folder: {entry}")
    return cache / "files" / "md5" / md5[:2] / md5[2:]


def _newest(listed: Listed) -> Checkpoint | None:
    """The newest checkpoint as far as its state tells, without the tensors."""
    name = max(filter(_STATE.fullmatch, listed))
    try:
        if listed[name].stat().st_size > _MOST_STATE_BYTES:
            return None
        state = json.loads(listed[name].read_bytes())
        of, made = dict(state["fingerprint"]), dict(state.get("training", {}))
        return Checkpoint(listed[name], int(state["step"]), of, {}, made)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _copied(listed: Listed, waiting: Path) -> bool:
    """Copy the files; False where the cache has lost one."""
    try:
        for name, place in listed.items():
            target = waiting / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(place, target)
    except OSError:
        remove(waiting, ignore_errors=True)
        return False
    return True

"""Holds what a stage works on against what is there when it has ended.

DVC looks at a stage's dependencies after the stage: of images that came, code that was edited or a
dataset that was packed anew meanwhile it would record what the result was not made from. So a stage
that DVC runs refuses, at its end, to call its result one of files that are not what they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import monge
from monge.errors import ChangedMeanwhile
from monge.stages import dvc_lock

Stamps = Mapping[str, object]

_NAMED = 3


@contextmanager
def steady(*inputs: Path, code: Sequence[str] = ("",)) -> Iterator[None]:
    """Raise ChangedMeanwhile after a stage of DVC's whose inputs or code changed during it.

    `code` are the folders of the package that count, all of it by default; none for a training,
    which knows its code better than by its files.
    """
    if not dvc_lock.runs_this():
        yield
        return
    package = Path(monge.__file__).parent
    with _held([*inputs, *(package / folder for folder in code)]):
        yield


@contextmanager
def steady_code() -> Iterator[None]:
    """Raise ChangedMeanwhile where the package's files change while they are read and imported."""
    with _held([Path(monge.__file__).parent]):
        yield


@contextmanager
def _held(watched: Sequence[Path]) -> Iterator[None]:
    before = _stamps(watched)
    yield
    now = _stamps(watched)
    names = sorted(before.keys() | now.keys())
    changed = [name for name in names if before.get(name) != now.get(name)]
    if changed:
        _refuse(changed)


def _refuse(changed: Sequence[str]) -> None:
    """Raise ChangedMeanwhile, naming the first few."""
    more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
    raise ChangedMeanwhile(
        f"{', '.join(changed[:_NAMED])}{more}: changed while this ran, so that its result is of "
        "what was there before. Nothing was recorded; run the same command again."
    )


def _stamps(paths: Sequence[Path]) -> Stamps:
    """Size, time and identity of each file below the paths."""
    found: dict[str, object] = {}
    for path in paths:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                status = file.stat()
                found[str(file)] = (status.st_size, status.st_mtime_ns, status.st_ino)
    return found

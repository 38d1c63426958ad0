"""The parameters of a run: `params.yaml` with `section.key=value` changes laid over it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from monge.data import watched
from monge.errors import SourceError
from monge.files import locked, write_whole
from monge.params import PARAMS_FILE, Params, auto, load, typed
from monge.params.edit import laid_over
from monge.params.file import read
from monge.paths import Paths

FILE = "params.yaml"
UNTIL = "MONGE_UNTIL"
"""The environment variable with the time that a run would end at, by this machine's monotonic
clock, which all processes share and nobody sets."""

MINUTES = 30.0
"""The time of a run that nobody gave one: for values of params.yaml that are `auto`."""


def checked(changes: Sequence[str], path: Path, root: Path) -> Params:
    """The parameters with the changes laid over them. Raises ParamsError, SourceError."""
    params = load(path, list(changes), chosen=())
    if not (root / params.prepare.path).exists():  # DVC watches it, whatever the source
        raise SourceError(
            f"prepare.path: {params.prepare.path}: no such folder or file. Name the one that holds "
            "your images."
        )
    if params.prepare.source == "folder":
        watched.refuse(root / params.prepare.path)
    return params


def fixed(changes: Sequence[str], root: Path, log: Callable[[str], None]) -> str:
    """The text of a run's parameters; `params.yaml` stays as it is.

    They are those of the run that started this one, or of the project's file as it is now, with
    the changes, each of which is said. Raises ParamsError, SourceError.
    """
    path = Path(os.environ.get(PARAMS_FILE, root / FILE))
    checked(changes, path, root)
    text = path.read_text(encoding="utf-8")
    return _laid_over(text, changes, log) if changes else text


def keep(changes: Sequence[str], root: Path, log: Callable[[str], None]) -> str:
    """Write the changes into `params.yaml`, comments kept, all or none; the text as it is then.

    One process at a time: of two that start together each has the changes of its own. Raises
    ParamsError or SourceError, with the file untouched.
    """
    with locked(Paths(root).own_state / "params.lock"):
        text = fixed(changes, root, log)
        if changes:
            write_whole(root / FILE, text.encode("utf-8"))
        return text


def minutes_left() -> float:
    """Count what is left of the minutes that this run may take."""
    until = float(os.environ.get(UNTIL) or time.monotonic() + MINUTES * 60)
    return max(1.0, (until - time.monotonic()) / 60)


def unchosen(path: Path, section: str = "") -> bool:
    """Tell whether a parameter file has values, of a section or any, still to be chosen."""
    return bool(auto.unchosen(read(path), section))


def keep_chosen(path: Path, root: Path) -> None:
    """Write into `params.yaml` what was chosen for this run and is still open there."""
    chosen = read(path)
    with locked(Paths(root).own_state / "params.lock"):
        there = root / FILE
        values = {key: auto.value(chosen, key) for key in auto.unchosen(read(there))}
        kept = {key: value for key, value in values.items() if value not in (None, auto.AUTO)}
        text = laid_over(there.read_text(encoding="utf-8"), kept, lambda _: None)
        write_whole(there, text.encode("utf-8"))


def _laid_over(text: str, changes: Sequence[str], log: Callable[[str], None]) -> str:
    pairs = (change.partition("=") for change in changes)
    values = {name.strip(): typed(name.strip(), value) for name, _, value in pairs}
    return laid_over(text, values, lambda line: log(f"{FILE}: {line}"))

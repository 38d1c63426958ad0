"""The parameters of a run: `params.yaml` with `section.key=value` changes laid over it."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from monge.errors import SourceError
from monge.files import locked, write_whole
from monge.params import PARAMS_FILE, Params, load
from monge.paths import Paths

FILE = "params.yaml"


def checked(changes: Sequence[str], path: Path, root: Path) -> Params:
    """The parameters with the changes laid over them. Raises ParamsError, SourceError."""
    params = load(path, list(changes))
    if not (root / params.prepare.path).exists():  # DVC watches it, whatever the source
        raise SourceError(
            f"prepare.path: {params.prepare.path}: no such folder or file. Name the one that holds "
            "your images."
        )
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


def _laid_over(text: str, changes: Sequence[str], log: Callable[[str], None]) -> str:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    document = yaml.load(text) or CommentedMap()
    for change in changes:
        name, _, value = change.partition("=")
        *sections, key = name.strip().split(".")
        target = document
        for section in sections:
            target = target.setdefault(section, CommentedMap())
        before, target[key] = target.get(key), yaml.load(value)
        if before != target[key]:
            log(f"{FILE}: {name.strip()}: {before} -> {target[key]}")
    written = io.StringIO()
    yaml.dump(document, written)
    return written.getvalue()

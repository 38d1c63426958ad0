"""Write `section.key=value` changes into params.yaml, comments kept, all or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from monge.errors import SourceError
from monge.params import Params, load


def checked(changes: Sequence[str], path: Path) -> Params:
    """The parameters with the changes laid over them. Raises ParamsError, SourceError."""
    params = load(path, list(changes))
    place = path.parent / params.prepare.path
    if not place.exists():  # DVC watches it, whatever the source
        raise SourceError(
            f"prepare.path: {params.prepare.path}: no such folder or file. Name the one that holds "
            "your images."
        )
    return params


def apply(changes: Sequence[str], path: Path, log: Callable[[str], None]) -> None:
    """Check the changes against every parameter, then write them, saying each.

    The file is changed, and not only this run, because DVC compares it with the last run's: so
    `dvc.lock` stays true. Raises ParamsError, with the file untouched.
    """
    checked(changes, path)
    if not changes:
        return
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    document = yaml.load(path)
    for change in changes:
        name, _, text = change.partition("=")
        *sections, key = name.strip().split(".")
        target = document
        for section in sections:
            target = target.setdefault(section, CommentedMap())
        before, target[key] = target.get(key), yaml.load(text)
        if before != target[key]:
            log(f"{path.name}: {name.strip()}: {before} -> {target[key]}")
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        yaml.dump(document, file)
    partial.replace(path)

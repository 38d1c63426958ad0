"""Writing into a parameter file: its comments, its order and its quotes stay."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any


def laid_over(text: str, values: Mapping[str, Any], log: Callable[[str], None]) -> str:
    """A YAML text with values by dotted key; each change is said: `train.steps: 8000 -> 100`."""
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = yaml.load(text) or CommentedMap()
    for name, value in values.items():
        *sections, key = name.split(".")
        target = document
        for section in sections:
            target = target.setdefault(section, CommentedMap())
        before, target[key] = target.get(key), value
        if before != target[key]:
            log(f"{name}: {before} -> {target[key]}")
    written = io.StringIO()
    yaml.dump(document, written)
    return written.getvalue()

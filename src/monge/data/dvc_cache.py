"""Where DVC keeps files: with `cache.type symlink` a folder that it tracks is links into there."""

from __future__ import annotations

import configparser
import os
from contextlib import suppress
from pathlib import Path

from monge.products import home


def places(root: Path) -> list[str]:
    """The caches of a project: .dvc/cache, and what DVC's settings name. Resolved."""
    own = home(root) / ".dvc"
    files = (Path.home() / ".config" / "dvc" / "config", own / "config", own / "config.local")
    found = [own / "cache"]
    for file in files:
        with suppress(OSError, configparser.Error, UnicodeDecodeError):
            found += [file.parent / named for named in _named(file.read_text("utf-8"))]
    return [os.path.realpath(place) for place in found]


def _named(text: str) -> list[str]:
    """`cache.dir` of a settings file; its lines are indented, which would continue others."""
    settings = configparser.ConfigParser(interpolation=None, strict=False)
    settings.read_string("\n".join(line.strip() for line in text.splitlines()))
    named = settings.get("cache", "dir", fallback="")
    return [named] if named else []

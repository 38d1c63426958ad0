"""Finds DVC's store: with `cache.type symlink` a folder that it tracks is links into there."""

from __future__ import annotations

import configparser
import os
import re
from contextlib import suppress
from pathlib import Path

from monge.products import home

_OBJECT = re.compile(r"[0-9a-f]{2}/[0-9a-f]{30}(\.dir)?")
"""A file in a cache: its MD5 in hexadecimal, the first two digits as a folder."""


def places(root: Path) -> list[str]:
    """The caches of a project: .dvc/cache, and what DVC's settings name. Resolved.

    The settings are the machine's, the user's, and the project's two, where DVC 3 looks for them.
    """
    return _caches(home(root) / ".dvc")


def around(images: Path) -> list[str]:
    """The caches of the DVC project that a folder lies in, if it is in one."""
    inside = next((place for place in (images, *images.parents) if (place / ".dvc").is_dir()), None)
    return [] if inside is None else _caches(inside / ".dvc")


def is_object(path: str) -> bool:
    """Tell whether a path has the form of a file in a cache, which no other file has by chance."""
    return _OBJECT.fullmatch("/".join(path.split("/")[-2:])) is not None


def _caches(own: Path) -> list[str]:
    files = [*_machine(), own / "config", own / "config.local"]
    found = [own / "cache"]
    for file in files:
        with suppress(OSError, configparser.Error, UnicodeDecodeError):
            found += [file.parent / named for named in _named(file.read_text("utf-8"))]
    return [os.path.realpath(place) for place in found]


def _machine() -> list[Path]:
    """DVC's settings for the machine and for the user (XDG Base Directory Specification)."""
    asked = os.environ.get
    everyone = asked("DVC_SYSTEM_CONFIG_DIR") or os.path.join(
        (asked("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)[0], "dvc"
    )
    user = asked("DVC_GLOBAL_CONFIG_DIR") or os.path.join(
        asked("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), "dvc"
    )
    return [Path(everyone) / "config", Path(user) / "config"]


def _named(text: str) -> list[str]:
    """`cache.dir` of a settings file; its lines are indented, which would continue others."""
    settings = configparser.ConfigParser(interpolation=None, strict=False)
    settings.read_string("\n".join(line.strip() for line in text.splitlines()))
    named = settings.get("cache", "dir", fallback="")
    return [os.path.expanduser(named)] if named else []

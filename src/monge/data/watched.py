"""Finds what DVC will not watch in a folder, before it fails half-way without a name."""

from __future__ import annotations

import os
from pathlib import Path

from monge.errors import SourceError


def refuse(folder: Path) -> None:
    """Raise SourceError for a name that is not UTF-8 and for a link to nothing, by its name."""
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(place, name)
            if not name.isascii():
                require_utf8(os.path.relpath(path, folder))
            if os.path.islink(path) and not os.path.exists(path):
                shown = os.path.relpath(path, folder)
                raise SourceError(
                    f"prepare.path: {shown!r}: a link to nothing ({os.readlink(path)}). Mend it, "
                    "or remove it."
                )


def require_utf8(path: str) -> None:
    """Raise SourceError for a path with a name that is not UTF-8."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:  # what could not be decoded is kept as lone surrogates
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise SourceError(
            f"prepare.path: {shown!r}: its name is not UTF-8, and DVC cannot note it. "
            "Rename it, or move it away."
        ) from None

"""Writes where a person's `-o` points: a file, through links; a pipe or device; standard output."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Any

from monge.credentials import hidden
from monge.errors import InputError

STANDARD = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
_LONGEST_START = 40
"""Characters of a name in that of a file beside it: a name may have 255 bytes in all."""


def is_stream(path: Path) -> bool:
    """Tell whether bytes are sent there one after the other, and nothing is replaced."""
    if str(path) in STANDARD:
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def send(path: Path, data: bytes) -> None:
    """Send bytes into a stream. Raises InputError for a terminal, which shows none."""
    if str(path) not in STANDARD:
        with path.open("wb") as stream:
            stream.write(data)
    elif sys.stdout.isatty():
        raise InputError(f"-o {path}: a terminal cannot show it. Send it on: -o - > picture.png")
    else:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def target(path: Path) -> Path:
    """Return the file that is to be written: what a link names, and not the link.

    Raises InputError for a name that is an ending and nothing else.
    """
    if path.name.startswith(".") and path.suffix == "" and path.name.lower() in (".png", ".npz"):
        raise InputError(f"-o {path}: this is an ending without a name. Write name{path.name}")
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def beside(name: str) -> str:
    """Return the start of the name of a temporary file beside another."""
    return f".{name[:_LONGEST_START]}."


class Patient:
    """Standard output whose reader may go, as `head` does: the work goes on, unheard.

    What is told there tells no password, as an error's message does not.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or drop what nobody reads."""
        try:
            self._stream.write(hidden(text))
        except BrokenPipeError:
            self._drop()
        return len(text)

    def flush(self) -> None:
        """Flush, or drop what nobody reads."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._drop()

    def _drop(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

"""The servers that `make up` runs for a checkout, as its other commands find them.

`.monge/servers.env` has a NAME=VALUE on each line and is its owner's alone to read. What the
environment says already wins. MONGE_SERVERS=embedded leaves the file aside.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

FILE = Path(".monge") / "servers.env"
CHOICE = "MONGE_SERVERS"
EMBEDDED = "embedded"

_ADDRESSES = {
    "MLFLOW_TRACKING_URI": ("MLflow", ()),
    "PREFECT_API_URL": ("Prefect", ("PREFECT_API_AUTH_STRING",)),
}
"""The variable of each server's address, its name, and what goes to that address alone."""

_LAST = "PREFECT_API_AUTH_STRING"
"""The beginning of the file's last line, by which one that was cut is told."""


def read(root: Path) -> dict[str, str]:
    """Read the settings of a checkout's servers; nothing where there are none, or half of them."""
    if os.environ.get(CHOICE) == EMBEDDED:
        return {}
    try:
        text = (root / FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    pairs = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
    found = {name.strip(): value.strip() for name, equals, value in pairs if equals}
    return found if text.endswith("\n") and _LAST in found else {}


def use(root: Path) -> str:
    """Put a checkout's servers into the environment; what to tell, empty where nothing is used.

    A server whose address the environment names already is the user's own and stays: nothing of
    ours is told to it.
    """
    found = read(root)
    if not found and os.environ.get(CHOICE) != EMBEDDED and (root / FILE).exists():
        return f"{root / FILE} is cut short: the embedded servers are used. `make up` mends it."
    used = [name for name in _ADDRESSES if name in found and not os.environ.get(name)]
    for name in used:
        for each in (name, *_ADDRESSES[name][1]):
            if each in found:
                os.environ[each] = found[each]
    return told({name: found[name] for name in used})


def told(addresses: Mapping[str, str]) -> str:
    """Say in a line which servers are used, and which of them do not answer."""
    if not addresses:
        return ""
    said = ", ".join(f"{_ADDRESSES[name][0]} {_page(at)}" for name, at in addresses.items())
    away = [_ADDRESSES[name][0] for name, at in addresses.items() if not listens(at)]
    if not away:
        return f"servers of `make up`: {said}"
    return (
        f"servers of `make up`: {said}. No answer from {' and '.join(away)}: `make up` starts what "
        f"is missing; {CHOICE}={EMBEDDED}, or without {FILE}, the embedded ones are used."
    )


def listens(address: str) -> bool:
    """Tell whether something takes connections at an address such as http://127.0.0.1:5000."""
    parts = urlsplit(address)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=2):
            return True
    except OSError:
        return False


def _page(address: str) -> str:
    return address.removesuffix("/api")

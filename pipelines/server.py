"""Asks whether a Prefect server answers, and works, before Prefect itself is imported."""

from __future__ import annotations

import urllib.error
import urllib.request


def answers(api: str, timeout_s: float = 5.0) -> bool:
    """Ask the server at an API address such as http://127.0.0.1:4200/api for its health."""
    return _succeeds(f"{api.rstrip('/')}/health", timeout_s)


def works(api: str, timeout_s: float = 5.0) -> bool:
    """Ask whether the server comes to its database as well; its health is good without."""
    return _succeeds(f"{api.rstrip('/')}/ready", timeout_s)


def _succeeds(url: str, timeout_s: float) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False

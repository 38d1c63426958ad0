"""Asks whether a Prefect server answers, before Prefect itself is imported."""

from __future__ import annotations

import urllib.error
import urllib.request


def answers(api: str, timeout_s: float = 5.0) -> bool:
    """Ask the server at an API address such as http://127.0.0.1:4200/api for its health."""
    try:
        with urllib.request.urlopen(f"{api.rstrip('/')}/health", timeout=timeout_s) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False

"""Asks from outside, within seconds, whether a server does its work."""

from __future__ import annotations

import socket
import struct
import urllib.error
import urllib.request
from collections.abc import Mapping

TIMEOUT_S = 5.0
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # PostgreSQL's protocol, "Message Formats"


def answers(url: str, any_status: bool = False) -> bool:
    """Tell whether an address is answered with success, or with anything at all."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S):
            return True
    except urllib.error.HTTPError:
        return any_status
    except (OSError, ValueError):
        return False


def is_postgres(host: str, port: int) -> bool:
    """Tell whether a PostgreSQL answers there if it takes encrypted connections."""
    try:
        with socket.create_connection((host, port), timeout=TIMEOUT_S) as connection:
            connection.settimeout(TIMEOUT_S)
            connection.sendall(_SSL_REQUEST)
            return connection.recv(1) in (b"S", b"N")
    except OSError:
        return False


def get(url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None) -> bytes:
    """Read what an address answers. Raises OSError."""
    request = urllib.request.Request(url, data=body, headers=dict(headers or {}))
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
        answer: bytes = response.read()
        return answer

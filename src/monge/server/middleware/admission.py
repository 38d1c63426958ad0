"""The address that the service takes, the names that it answers to, and the token that it wants."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monge.errors import InputError
from monge.server.settings import Settings

TOKEN = "MONGE_TOKEN"
MIN_TOKEN_CHARACTERS = 16

_OWN_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")
_NUMBERS = re.compile(r"[0-9a-fx.]+", re.I)
_PATTERN = re.compile(r"\*|(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[?[0-9a-f:.]+\]?", re.I)


@dataclass(frozen=True, kw_only=True)
class Admission:
    """The rules of the layer in front of the application.

    `token` None asks for none. `hosts` None lets every name pass; else a request's Host must be one
    of them or this machine's own, so that no web page reaches a service on loopback under a name of
    the page's. `rate` is requests a second of a client, 0 for any number.
    """

    token: str | None = field(default=None, repr=False)
    hosts: tuple[str, ...] | None = ()
    rate: float = 0.0
    body_bytes: int = 8 << 20
    root_path: str = ""

    def admits(self, host: str) -> bool:
        """Tell whether a request may name this Host, with or without a port."""
        if self.hosts is None:
            return True
        name = named(host)
        return _is_own(name) or any(_matches(name, pattern) for pattern in self.hosts)


def admission(settings: Settings) -> Admission:
    """Find the token, and the names that are answered to.

    Raises InputError when other machines can ask and there is no token.
    """
    token, local = _token(settings.token_file), _is_local(settings.host)
    if token is None and not local:
        raise InputError(
            f"{settings.host} can be reached from other machines, so a token is needed: put one of "
            f"at least {MIN_TOKEN_CHARACTERS} characters into a file for --token-file, or into "
            f"{TOKEN}."
        )
    hosts = _patterns(settings.allowed_hosts)
    if local:
        hosts = (*hosts, named(settings.host))
    return Admission(
        token=token, hosts=hosts if local or hosts else None, rate=settings.rate,
        body_bytes=settings.limits.body_bytes, root_path=settings.root_path.rstrip("/"),
    )  # fmt: skip


def listening(host: str, port: int) -> socket.socket:
    """Take the address; port 0 is any free one. Raises InputError when it cannot be had."""
    family, where = _resolved(host, port)[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(where)
    except OSError as error:
        listener.close()
        reason = error.strerror or error
        raise InputError(
            f"{host} port {port}: {reason}. Choose another with --port or --host."
        ) from None
    return listener


def address(host: str, port: int) -> str:
    """Write both as a client asks for them."""
    return f"http://[{host.strip('[]')}]:{port}" if ":" in host else f"http://{host}:{port}"


def named(host: str) -> str:
    """The name in a Host header or an option: without port, brackets, last dot and capitals."""
    if host.startswith("["):
        name = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        name = host.partition(":")[0]
    else:
        name = host
    return name.rstrip(".").lower()


def _matches(name: str, pattern: str) -> bool:
    if pattern.startswith("*."):
        return name.endswith(pattern[1:]) and len(name) >= len(pattern)
    return pattern in ("*", name)


def _patterns(wanted: Sequence[str]) -> tuple[str, ...]:
    for pattern in wanted:
        if not _PATTERN.fullmatch(pattern):
            raise InputError(
                "--allowed-hosts: names without scheme, port and path, with commas, as "
                f"gan.example.com,*.example.org, got {pattern[:80]!r}."
            )
    return tuple(pattern if pattern == "*" else named(pattern) for pattern in wanted)


def _is_own(name: str) -> bool:
    """Tell whether a name can only be this machine: nobody else's name leads to one of these."""
    return name in _OWN_NAMES or _is_loopback(name)


def _is_loopback(name: str) -> bool:
    """Tell a loopback address in any spelling: 127.0.0.2, 127.1, ::1, ::ffff:127.0.0.1."""
    if _NUMBERS.fullmatch(name):
        try:
            return socket.inet_aton(name)[0] == 127
        except OSError:
            return False
    try:
        found = ipaddress.IPv6Address(name)
    except ValueError:
        return False
    return (found.ipv4_mapped or found).is_loopback


def _is_local(host: str) -> bool:
    """Tell whether everything that an option's host leads to is on loopback."""
    if _is_loopback(named(host)):
        return True
    return all(_is_loopback(str(where[0])) for _, where in _resolved(host, 0))


def _resolved(host: str, port: int) -> list[tuple[socket.AddressFamily, Any]]:
    """Look an address or a name up, IPv4 first. Raises InputError when it leads nowhere."""
    try:
        found = socket.getaddrinfo(
            host.removeprefix("[").removesuffix("]") or None, port,
            type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE,
        )  # fmt: skip
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"--host {host[:80]}: {reason}. Give an address of this machine, as 127.0.0.1 or "
            "0.0.0.0."
        ) from None
    pairs: list[tuple[socket.AddressFamily, Any]] = [(family, where) for family, *_, where in found]
    return sorted(pairs, key=lambda pair: pair[0] != socket.AF_INET)


def _token(token_file: Path | None) -> str | None:
    if token_file is None:
        token = os.environ.get(TOKEN) or None
        where = TOKEN
    else:
        where = str(token_file)
        try:
            token = token_file.read_text(encoding="utf-8-sig").strip()
        except (OSError, ValueError) as error:
            raise InputError(f"{token_file}: cannot be read: {error}.") from None
    if token is None:
        return None
    if len(token) < MIN_TOKEN_CHARACTERS:
        raise InputError(f"{where}: a token has at least {MIN_TOKEN_CHARACTERS} characters.")
    if not (token.isascii() and token.isprintable()):
        raise InputError(
            f"{where}: a token is one line of ASCII letters, digits and signs: others are "
            "written by each client in its own way. `openssl rand -hex 16` makes one."
        )
    return token

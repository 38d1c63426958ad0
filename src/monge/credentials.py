"""Passwords, tokens and keys that are given in addresses or in the environment, kept from view.

Whatever is told, logged, written or sent to be read by people goes through `hidden`: the messages
of our errors, log lines, what a stage prints under a flow. An address that is kept in a file or
shown as a link goes through `bare`, which leaves no trace of who asks.
"""

from __future__ import annotations

import base64
import functools
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from urllib.parse import quote, unquote

HIDDEN = "***"

_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*://"
# Between a scheme and the last @ before a path; then, with a slash in the password, up to the @
# behind it, unless what follows the colon is a port.
_USERINFO = re.compile(
    rf"({_SCHEME})(?:[^\s/?#\"'<>]*@|[^\s/:@?\"'<>]*:(?!\d+[/?#])[^\s@\"'<>]*@(?=[\w\[]))"
)
_SECRET = (
    r"password|passwd|pwd|passphrase|secret|token|api[_-]?key|access[_-]?key|account[_-]?key|"
    r"signature|credential|sslpassword"
)
_SECRET_NAME = rf"(?:[\w.-]{{0,40}}(?:{_SECRET})[\w.-]{{0,40}}|sig|auth|key)"
_IN_QUERY = re.compile(rf"(?i)([?&;]{_SECRET_NAME}=)[^&\s\"'#<>]*[^&\s\"'#<>:.,;)]")
_ASSIGNED = re.compile(
    r"(?i)((?:password|passwd|passphrase|secret_?(?:access_?)?key|access_?token|api_?key)"
    r"[\w.-]{0,40}[\"']?\s?[=:]\s?)(\"[^\"]+\"|'[^']+'|[^\s\"'&,;)}\]]+)"
)
_HEADER = re.compile(r"(?i)\b((?:basic|bearer)\s+)[A-Za-z0-9+/=_.~-]{8,}")
_AWS_KEY = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")

_NAMED = re.compile(
    r"PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|API_?KEY|ACCESS_?KEY|AUTH_STRING|CREDENTIAL", re.I
)
_OF_FILES = re.compile(r"(?:FILE|PATH|DIR|URL|URI|COMMAND)S?$", re.I)
_SHORTEST = 6
"""Characters of a secret that is looked for by itself: a shorter one is a part of other words."""


def hidden(text: str) -> str:
    """Return the text with every credential in it replaced by ***.

    Those are user and password of addresses, secret values in queries and assignments, headers, and
    the values of what the environment calls a password, token or key.
    """
    known = {secret for pair in os.environ.items() for secret in _secrets(*pair)}
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    if "://" in text:
        text = _USERINFO.sub(lambda found: _without(found, f"{HIDDEN}@"), text)
    if "=" in text or ":" in text:
        text = _IN_QUERY.sub(rf"\1{HIDDEN}", text)
        text = _ASSIGNED.sub(rf"\1{HIDDEN}", text)
    return _AWS_KEY.sub(HIDDEN, _HEADER.sub(rf"\1{HIDDEN}", text))


def bare(address: str) -> str:
    """Return an address without user, password and secret query values, which still leads there."""
    place, mark, query = without_user(address).partition("?")
    kept = [part for part in query.split("&") if not _IN_QUERY.match(f"?{part}")]
    return f"{place}{mark}{'&'.join(kept)}" if any(kept) else place


def without_user(address: str) -> str:
    """Return an address without user and password; SSH's user alone is a part of the way."""
    return _USERINFO.sub(lambda found: _without(found, ""), address)


def _without(found: re.Match[str], instead: str) -> str:
    alone = found[1].lower().endswith("ssh://") and ":" not in found[0][len(found[1]) :]
    return found[0] if alone else f"{found[1]}{instead}"


def user_and_password(address: str) -> tuple[str, str] | None:
    """Return both as they are typed at a prompt, of an address that has both."""
    found = re.match(rf"{_SCHEME}([^\s/?#]*)@", address)
    user, colon, password = found[1].partition(":") if found else ("", "", "")
    return (unquote(user), unquote(password)) if user and colon and password else None


@functools.lru_cache(maxsize=1024)
def _secrets(name: str, value: str) -> tuple[str, ...]:
    """List what is secret in a variable of the environment, in each form that may be seen."""
    found: tuple[str, ...] = ()
    if _NAMED.search(name) and not (_OF_FILES.search(name) or os.path.exists(value)):
        found = (value, quote(value, safe=""))
    elif "://" in value and "@" in value:
        found = tuple(_of_address(value))
    return tuple(secret for secret in found if len(secret) >= _SHORTEST)


def _of_address(address: str) -> Iterator[str]:
    userinfo = re.match(rf"{_SCHEME}([^\s/?#]*)@", address)
    if userinfo is None:
        return
    user, _, password = userinfo[1].partition(":")
    yield from (password, unquote(password)) if password else (user,)
    with suppress(UnicodeError):
        both = f"{unquote(user)}:{unquote(password)}".encode()
        yield base64.b64encode(both).decode("ascii")


class Formatter(logging.Formatter):
    """Formats a log record, its traceback included, with nothing secret left in it."""

    def format(self, record: logging.LogRecord) -> str:
        """Format as ever, and hide."""
        return hidden(super().format(record))


def trace(
    kind: type[BaseException], error: BaseException, where: TracebackType | None = None
) -> None:
    """Print a traceback as `sys.excepthook` does, with nothing secret left in it."""
    lines = traceback.format_exception(kind, error, where or error.__traceback__)
    print(hidden("".join(lines)), end="", file=sys.stderr, flush=True)

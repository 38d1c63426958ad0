"""Redirects that hold behind any proxy: relative to what was asked, without host and prefix."""

from __future__ import annotations

from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Relative:
    """An ASGI layer: a redirect that only adds or takes a path's last slash becomes relative.

    Starlette writes it as a whole address, of the host and the path that it sees itself. Behind a
    proxy with a name, a prefix and TLS of its own, none of that leads back to it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 307:
                where = _slashed(scope["path"], scope.get("query_string", b""))
                headers = [pair for pair in message["headers"] if pair[0] != b"location"]
                message = {**message, "headers": [*headers, (b"location", where)]}
            await send(message)

        await self.app(scope, receive, sending if scope["type"] == "http" else send)


def _slashed(path: str, query: bytes) -> bytes:
    """Find a path with another end, seen from the path: `../a` from `a/`, `a/` from `a`."""
    last = quote(path.rstrip("/").rpartition("/")[2])
    where = f"../{last}" if path.endswith("/") else f"{last}/"
    return where.encode() + (b"?" + query if query else b"")

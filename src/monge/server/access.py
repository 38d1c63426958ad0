"""Who may ask, how often, and how much they may send: decided before anything is read."""

from __future__ import annotations

import hmac
import math
import time
from collections import OrderedDict
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monge.server.problems import problem

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
OPEN = ("/", "/page", "/v2/health/live", "/v2/health/ready")
"""Open without a token: the page, which holds nothing, and what a balancer asks."""

Refusal = tuple[HTTPStatus, str, dict[str, str]] | None

_CLIENTS = 10_000
_SAFE = [
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' blob: data:; "
        b"frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


class Access:
    """An ASGI layer: token, host, rate and size of the body.

    `token` None asks for none. `local` refuses requests that name another host than this machine,
    so that no web page reaches a service on loopback under a name of its own. `rate` is requests a
    second for each client address, 0 for any number; twice as many may come at once.
    """

    def __init__(
        self, app: ASGIApp, *, token: str | None, local: bool, rate: float, body_bytes: int
    ) -> None:
        self.app, self.local, self.rate, self.body_bytes = app, local, rate, body_bytes
        self._token = None if token is None else f"Bearer {token}".encode()
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = (
            self._wrong_host(headers)
            or self._unknown(scope["path"], headers)
            or self._too_often(scope)
            or self._too_large(headers)
        )
        if refusal is not None:
            await problem(*refusal)(scope, receive, _with_safe_headers(send))
            return
        await self.app(scope, self._bounded(receive), _with_safe_headers(send))

    def _bounded(self, receive: Receive) -> Receive:
        """Count a body that comes in parts and does not say how large it is."""
        left = self.body_bytes

        async def receiving() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(*self._large())
            return message

        return receiving

    def _wrong_host(self, headers: Headers) -> Refusal:
        host = headers.get("host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if not self.local or name in LOOPBACK:
            return None
        return HTTPStatus.MISDIRECTED_REQUEST, f"this service is not called {name[:80]!r}.", {}

    def _unknown(self, path: str, headers: Headers) -> Refusal:
        if self._token is None or path in OPEN or path.startswith("/page/"):
            return None
        given = headers.get("authorization", "").encode("utf-8", "surrogateescape")
        if hmac.compare_digest(given, self._token):
            return None
        return (
            HTTPStatus.UNAUTHORIZED,
            "a token is needed: Authorization: Bearer TOKEN.",
            {"WWW-Authenticate": "Bearer"},
        )

    def _too_often(self, scope: Scope) -> Refusal:
        if not self.rate:
            return None
        client = (scope.get("client") or ("",))[0]
        now, most = time.monotonic(), max(1.0, 2.0 * self.rate)
        tokens, since = self._clients.pop(client, (most, now))
        tokens = min(most, tokens + (now - since) * self.rate)
        allowed = tokens >= 1.0
        self._clients[client] = (tokens - allowed, now)
        if len(self._clients) > _CLIENTS:
            self._clients.popitem(last=False)
        if allowed:
            return None
        wait = str(max(1, math.ceil((1.0 - tokens) / self.rate)))
        text = f"more than {self.rate:g} requests a second."
        return HTTPStatus.TOO_MANY_REQUESTS, text, {"Retry-After": wait}

    def _too_large(self, headers: Headers) -> Refusal:
        told = headers.get("content-length", "0")
        if told.isascii() and told.isdigit() and int(told) <= self.body_bytes:
            return None
        return self._large()

    def _large(self) -> tuple[HTTPStatus, str, dict[str, str]]:
        text = f"the body is larger than {self.body_bytes} bytes."
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text, {"Connection": "close"}


def _with_safe_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *_SAFE]}
        await send(message)

    return sending

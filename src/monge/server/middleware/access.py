"""Decides who may ask, how often, and how much they may send, before anything is read."""

from __future__ import annotations

import hmac
import math
import time
from collections import OrderedDict
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monge.server.middleware.admission import Admission, named
from monge.server.problems import problem

OPEN = ("/", "/page", "/docs", "/v2/health/live", "/v2/health/ready")
"""Open without a token: the page, which holds nothing, and what a balancer asks."""

_HEALTH = "/v2/health/"  # asked by address, whatever the names are: it tells nothing

Refusal = tuple[HTTPStatus, str, dict[str, str]] | None
Headers = dict[bytes, bytes]

_CLIENTS = 10_000
_NAMES = 1_000
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
    """An ASGI layer: host, token, rate, coding and size of the body, by an `Admission`.

    Twice as many requests as a client's rate may come at once.
    """

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self.app, self.admission, self.rate = app, admission, admission.rate
        self.body_bytes = admission.body_bytes
        self._token = None if admission.token is None else admission.token.encode()
        self._admitted: set[bytes] = set()  # Host headers that were looked at
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if prefix := self.admission.root_path:
            if scope["path"] == prefix:  # the page's links are relative to a folder
                where = prefix.rpartition("/")[2] + "/"
                await Response(None, 308, {"Location": where})(scope, receive, send)
                return
            scope = _without_prefix(scope, prefix)
        headers: Headers = dict(scope["headers"])
        refusal = (
            self._wrong_host(scope, headers)
            or self._unknown(scope["path"], headers)
            or self._too_often(scope)
            or _coded(headers)
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

    def _wrong_host(self, scope: Scope, headers: Headers) -> Refusal:
        if len(headers) != len(scope["headers"]) and _count(scope, b"host") > 1:
            return HTTPStatus.BAD_REQUEST, "a request names one Host, and this one names more.", {}
        host = headers.get(b"host", b"")
        if host in self._admitted or scope["path"].startswith(_HEALTH):
            return None
        text = host.decode("latin-1")
        if not self.admission.admits(text):
            name = named(text)[:80]
            told = f"this service is not called {name!r}. Behind a proxy: --allowed-hosts NAME."
            return HTTPStatus.MISDIRECTED_REQUEST, told, {}
        if len(self._admitted) < _NAMES:
            self._admitted.add(host)
        return None

    def _unknown(self, path: str, headers: Headers) -> Refusal:
        if self._token is None or path in OPEN or path.startswith("/page/"):
            return None
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if hmac.compare_digest(given.strip(), self._token) and scheme.lower() == b"bearer":
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
        told = headers.get(b"content-length", b"0")
        if told.isdigit() and int(told) <= self.body_bytes:
            return None
        return self._large()

    def _large(self) -> tuple[HTTPStatus, str, dict[str, str]]:
        # The connection stays: closed while a proxy still writes, it would answer 502 by itself.
        text = f"the body is larger than {self.body_bytes} bytes."
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text, {}


def _coded(headers: Headers) -> Refusal:
    """Refuse a body that is compressed: what it unpacks to cannot be bounded by its length."""
    coding = headers.get(b"content-encoding", b"identity").strip().lower()
    if coding in (b"identity", b""):
        return None
    told = f"a body in {coding[:40].decode('latin-1')!r} is not read: send it uncompressed."
    return HTTPStatus.UNSUPPORTED_MEDIA_TYPE, told, {"Accept-Encoding": "identity"}


def _without_prefix(scope: Scope, prefix: str) -> Scope:
    """Take off what a proxy left in front of the path, so that all else need not know of it."""
    path: str = scope["path"]
    return {**scope, "path": path[len(prefix) :]} if path.startswith(f"{prefix}/") else scope


def _count(scope: Scope, name: bytes) -> int:
    return sum(found == name for found, _ in scope["headers"])


def _with_safe_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *_SAFE]}
        await send(message)

    return sending

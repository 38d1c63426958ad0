"""HEAD and OPTIONS of every route, which FastAPI leaves to each."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = ("GET", "POST")


class Methods:
    """An ASGI layer: HEAD is GET without the body, OPTIONS says what a path takes.

    So does the 405 for a method that it does not take.
    """

    def __init__(self, app: ASGIApp, routes: list[BaseRoute]) -> None:
        self.app, self.routes = app, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope.get("method")
        if method == "HEAD":
            # Whoever writes the answer has the scope as it was, and leaves the body out.
            await self.app({**scope, "method": "GET"}, receive, send)
        elif method == "OPTIONS" and (allowed := self._allowed(scope)):
            await Response(None, 204, {"Allow": allowed})(scope, receive, send)
        else:
            await self.app(scope, receive, self._telling(dict(scope), send) if method else send)

    def _telling(self, scope: Scope, send: Send) -> Send:
        """Put it into a 405; `scope` is a copy, since routing changes the one that it gets."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 405:
                allow = (b"allow", self._allowed(scope).encode())
                others = [pair for pair in message["headers"] if pair[0] != b"allow"]
                message = {**message, "headers": [*others, allow]}
            await send(message)

        return sending

    def _allowed(self, scope: Scope) -> str:
        """List the methods of a path; nothing where there is none, all for `OPTIONS *`."""
        found = [method for method in _METHODS if self._takes(scope, method)]
        heads = ["HEAD"] if "GET" in found else []
        return ", ".join([*found, *heads, "OPTIONS"]) if found else ""

    def _takes(self, scope: Scope, method: str) -> bool:
        if scope["path"] == "*":
            return True
        asked = {**scope, "method": method}
        for route in self.routes:
            # What is mounted are files: Starlette asks them whatever the method is.
            if route.matches(asked)[0] is Match.FULL:
                return method == "GET" or not isinstance(route, Mount)
        return False

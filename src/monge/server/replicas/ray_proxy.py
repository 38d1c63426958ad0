"""Ray's proxy stands between a client and a replica: what it says itself becomes a problem, too.

Ray asks `layers` for it, by the environment variable that `monge serve --replicas` sets.
"""

from __future__ import annotations

from http import HTTPStatus

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monge.server.problems import MEDIA_TYPE, problem

ENVIRONMENT = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
IMPORT_PATH = "monge.server.replicas.ray_proxy.layers"

_OF_RAY = "/-/"  # its own pages: health and routes


class Proxied:
    """An ASGI layer of Ray's proxy.

    A replica that dies answers nothing, or the head of an answer alone, and Ray says 500 in plain
    text or cuts the connection; here it is 503, which clients know to ask again: the same request
    has the same images.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_OF_RAY):
            await self.app(scope, receive, send)
            return
        began, refused = False, HTTPStatus.INTERNAL_SERVER_ERROR.value
        head: list[Message] = []  # until there is a body: the replica may die between the two

        async def sending(message: Message) -> None:
            nonlocal began, refused
            if message["type"] == "http.response.start":
                ours = not _of_ray(message)
                head[:] = [message] if ours else []
                refused = refused if ours else message["status"]
            elif began or head:
                for each in (*head, message):
                    await send(each)
                began = True
                head.clear()

        await self.app(scope, receive, sending)
        if not began:
            await _explained(refused)(scope, receive, send)


def layers() -> list[Middleware]:
    """List what Ray's proxy puts around its answers."""
    return [Middleware(Proxied)]


def _of_ray(start: Message) -> bool:
    """Tell whether a refusal is not one of ours, which are all of one media type."""
    kind = Headers(raw=start["headers"]).get("content-type", "")
    return start["status"] >= HTTPStatus.BAD_REQUEST and kind != MEDIA_TYPE


def _explained(status: int) -> JSONResponse:
    again = {"Retry-After": "1"}
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return problem(status, "too many requests wait already. Ask again in 1 s.", again)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        text = "the replica that drew this is gone. Ask again: the same request, the same images."
    else:  # 404: the application is not there; 503: none of its replicas is
        text = "no replica is there: starting or shutting down. Ask again in a second."
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, text, again)

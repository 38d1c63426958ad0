"""The short way to the busy routes: to their own functions, past FastAPI's way to them.

FastAPI's routing, exit stacks and validation in two steps take longer than drawing a few small
images. It goes on describing these routes, and answers whatever is not the plainest case: another
spelling of the path or of the content type, and a body that is not right, of which it says why.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, get_type_hints

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute
from starlette.types import Message, Receive, Scope, Send

from monge.errors import MongeError
from monge.server import problems
from monge.server.problems import ClientGone
from monge.server.prometheus import Measures

_JSON = (b"content-type", b"application/json")


@dataclass(frozen=True, eq=False, slots=True)
class Shortcut:
    """A route: its path as the figures have it, its function, and the body that this takes."""

    path: str
    endpoint: Callable[..., Awaitable[Response]]
    body: type[BaseModel] | None
    arguments: dict[str, str]


def shortcuts(routes: Iterable[BaseRoute], name: str) -> dict[str, Shortcut]:
    """Those that are posted to and give a Response, by path; `name` is the model's in a path."""
    found: dict[str, Shortcut] = {}
    for route in routes:
        if not isinstance(route, APIRoute) or "POST" not in (route.methods or ()):
            continue
        hints = get_type_hints(route.endpoint)
        if {*route.param_convertors} <= {"name"} and hints["return"] is Response:
            arguments = {"name": name} if route.param_convertors else {}
            path = route.path.format(**arguments)
            found[path] = Shortcut(route.path, route.endpoint, hints.get("body"), arguments)
    return found


class FastPath(FastAPI):
    """FastAPI, and the short way past it; `measures` hears of what went the short way."""

    short: dict[str, Shortcut]
    measures: Measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self.short.get(scope.get("path", ""))
        if (
            route is None
            or scope.get("method") != "POST"
            or (route.body is not None and _JSON not in scope["headers"])
        ):
            await super().__call__(scope, receive, send)
            return
        began_s, status = time.perf_counter(), "499"  # what stays when the client goes away
        request, told = Request(scope, receive), list[bytes]()
        try:
            response = await _answered(route, request, told)
            status = str(response.status_code)
            await response(scope, receive, send)
        except (ClientGone, ClientDisconnect):
            pass
        except ValidationError:
            status = ""
        finally:  # also when it is cancelled
            if status:
                self.measures.answered(route.path, status, time.perf_counter() - began_s)
        if not status:  # FastAPI says what is wrong with the body, and counts it
            await super().__call__(scope, _again(told[0], receive), send)


async def _answered(route: Shortcut, request: Request, told: list[bytes]) -> Response:
    """Ask the route's function; `told` gets the body. Raises ValidationError for a wrong one."""
    given: dict[str, Any] = {"request": request, **route.arguments}
    try:
        if route.body is not None:
            told.append(await _read(request.receive))
            given["body"] = route.body.__pydantic_validator__.validate_json(told[0])
        return await route.endpoint(**given)
    except (ClientGone, ClientDisconnect, ValidationError):
        raise
    except (MongeError, HTTPException) as error:
        return problems.of(error)
    except Exception as error:
        return problems.unexpected(request, error)


async def _read(receive: Receive) -> bytes:
    """Read a body. Raises ClientGone when it does not come to its end."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """Give a body that has been read once more."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receiving() -> Message:
        return first.pop() if first else await receive()

    return receiving

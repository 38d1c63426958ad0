"""Says what a client did wrong, or the service could not do, in a line of JSON (RFC 9457)."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from monge.errors import InputError, Late, ModelFileError, MongeError, NotReady, QueueFull

MEDIA_TYPE = "application/problem+json"

log = logging.getLogger(__name__)

_SELDOM_S = 10.0

_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "error"],
    "properties": {
        "status": {"type": "integer"},
        **{name: {"type": "string"} for name in ("type", "title", "detail", "error")},
    },
}
DESCRIBED: dict[int | str, dict[str, Any]] = {
    status: {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": _SCHEMA}},
    }
    for status in (400, 401, 404, 405, 408, 409, 413, 415, 421, 422, 429, 431, 500, 503, 504)
}
"""Every refusal, as the description of the interface has it."""


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


def problem(
    status: int, detail: str, headers: Mapping[str, str] | None = None, **members: object
) -> JSONResponse:
    """Build the answer. `error` repeats the detail for clients of the Open Inference Protocol."""
    body = {
        "type": "about:blank", "title": HTTPStatus(status).phrase, "status": status,
        "detail": detail, "error": detail, **members,
    }  # fmt: skip
    return JSONResponse(body, status, dict(headers or {}), media_type=MEDIA_TYPE)


def written(status: HTTPStatus, detail: str, headers: Mapping[str, str]) -> bytes:
    """Build the answer as it goes over the wire, where no application is at hand; then close."""
    answer = problem(status, detail, {**headers, "Connection": "close"})
    lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode()]
    lines += [name + b": " + value for name, value in answer.raw_headers]
    return b"\r\n".join([*lines, b"", bytes(answer.body)])


class Seldom:
    """Warns of what may happen a thousand times a second: at once, then every 10 s at most."""

    def __init__(self, log: logging.Logger) -> None:
        self._log, self._told_s = log, -math.inf

    def __call__(self, text: str, *values: object) -> None:
        if time.monotonic() - self._told_s > _SELDOM_S:
            self._told_s = time.monotonic()
            self._log.warning(text, *values)


def install(app: FastAPI) -> None:
    """Answer every failure with a problem, never with a traceback."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _told)
    app.add_exception_handler(MongeError, _told)
    app.add_exception_handler(Exception, _unexpected)


_full = Seldom(log)


def of(error: MongeError | HTTPException) -> JSONResponse:
    """Build the answer for an error of ours, or for a refusal."""
    if isinstance(error.__cause__, UnicodeDecodeError):  # FastAPI met it in a body
        return problem(HTTPStatus.BAD_REQUEST, "the body is not text in UTF-8: send JSON.")
    if isinstance(error, HTTPException):
        return problem(error.status_code, str(error.detail), error.headers)
    if isinstance(error, QueueFull):
        wait = str(math.ceil(error.retry_after_s))
        _full("the queue is full (--queue-images): %s", error)
        return problem(HTTPStatus.TOO_MANY_REQUESTS, str(error), {"Retry-After": wait})
    if isinstance(error, Late):
        return problem(HTTPStatus.GATEWAY_TIMEOUT, str(error))
    if isinstance(error, NotReady):
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), {"Retry-After": "1"})
    if isinstance(error, InputError) and not isinstance(error, ModelFileError):
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
    log.error("%s", error)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the service failed; its log says how.")


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if _is_json(kind):
        return _explained(error)
    told = f"the body came as {kind[:80]!r}" if kind else "nothing says what the body is"
    text = f"{told}: send JSON, with the header Content-Type: application/json."
    return problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, text, {"Accept-Post": "application/json"})


def _is_json(kind: str) -> bool:
    """Tell whether FastAPI reads a body of this media type as JSON."""
    return kind == "application/json" or (kind.startswith("application/") and kind[-5:] == "+json")


def _explained(error: RequestValidationError) -> JSONResponse:
    sentences = []
    for item in error.errors()[:5]:
        where = ".".join(str(part) for part in item["loc"] if part != "body") or "body"
        sentences.append(f"{where}: {item['msg'].removeprefix('Value error, ')}")
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(sentences)[:1000])


async def _told(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, MongeError | HTTPException)
    return of(error)


def unexpected(request: Request, error: Exception) -> JSONResponse:
    """Say it in the log, and build an answer that does not."""
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the service failed; its log says how.")


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    return unexpected(request, error)

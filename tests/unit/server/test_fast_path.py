"""The short way past FastAPI answers as the long way does."""

from __future__ import annotations

import asyncio
import json
import logging

import httpx
import pytest
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

from monge.errors import InputError
from monge.server import problems
from monge.server.prometheus import Measures
from monge.server.routes.fast_path import FastPath, shortcuts
from tests.running import DIM

SHORT = {"content-type": "application/json"}
LONG = {"content-type": "application/json; charset=utf-8"}
INFER = {
    "inputs": [{"name": "latents", "datatype": "FP32", "shape": [1, DIM], "data": [0.5] * DIM}]
}


def answers(service, path: str, body: object) -> tuple[httpx.Response, httpx.Response]:
    content = json.dumps(body).encode()
    roundabout = path.replace("/infer", "/versions/1/infer")
    short = service.client.post(path, content=content, headers=SHORT)
    long = service.client.post(roundabout, content=content, headers=LONG)
    for answer in (short, long):
        for name in ("date", "server-timing"):
            answer.headers.pop(name, None)
    return short, long


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/samples", {"n": 3, "seed": 5, "format": "raw"}, 200),
        ("/v1/samples", {"n": 3, "seed": 5, "truncation": 0.7}, 200),
        ("/v1/samples", {"seeds": [1, 2**64 - 1], "format": "raw"}, 200),
        ("/v1/samples", {"n": 1025}, 422),
        ("/v1/samples", {"n": "3", "sed": 1}, 422),
        ("/v1/samples", [], 422),
        ("/v1/interpolations", {"start": {"seed": 1}, "end": {"seed": 2}, "format": "raw"}, 200),
        ("/v1/interpolations", {"start": {"seed": 1}, "end": {"seed": -2}}, 422),
        ("/v2/models/generator/infer", INFER, 200),
        ("/v2/models/generator/infer", {"inputs": []}, 422),
    ],
)
def test_both_ways_give_the_same_answer(service, path, body, status):
    short, long = answers(service, path, body)
    assert short.status_code == long.status_code == status
    assert short.headers == long.headers
    assert short.content == long.content


@pytest.mark.parametrize("headers", [SHORT, LONG])
def test_a_body_that_is_not_text_is_told_so(service, headers):
    answer = service.client.post("/v1/samples", content=b'\xff\xfe{"n":1}', headers=headers)
    assert answer.status_code == 400
    assert answer.json()["detail"] == "the body is not text in UTF-8: send JSON."


def test_the_figures_hear_of_both_ways_under_one_name(service):
    def count(route: str, status: int) -> float:
        text = service.client.get("/metrics").text
        name = f'monge_requests_total{{route="{route}",status="{status}"}}'
        return float(text.partition(name)[2].split()[0]) if name in text else 0.0

    infer = "/v2/models/{name}/infer"
    before = count("/v1/samples", 200), count("/v1/samples", 422), count(infer, 422)
    for way in (SHORT, LONG):
        service.client.post("/v1/samples", content=b'{"n": 1}', headers=way)
        service.client.post("/v1/samples", content=b'{"n": 0}', headers=way)
    service.client.post("/v2/models/generator/infer", content=b"{", headers=SHORT)
    after = count("/v1/samples", 200), count("/v1/samples", 422), count(infer, 422)
    assert after == (before[0] + 2, before[1] + 2, before[2] + 1)


def test_a_client_that_leaves_while_it_sends_is_counted_and_no_failure(caplog):
    async def infer(request: Request) -> Response:
        return Response(await request.body())

    app = app_of(infer)
    sent: list[object] = []

    async def gone():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/busy", "headers": []}
    asyncio.run(app(scope, gone, send))
    assert sent == []
    assert 'status="499"} 1.0' in app.measures.text().decode()
    assert caplog.text == ""


def app_of(endpoint) -> FastPath:
    """Build an application of one busy route."""
    router = APIRouter()
    router.post("/busy")(endpoint)
    app = FastPath()
    problems.install(app)
    app.include_router(router)
    app.short, app.measures = shortcuts(router.routes, "any"), Measures(lambda: 0)
    return app


def test_only_what_is_posted_to_and_gives_a_response_takes_the_short_way():
    async def document(request: Request) -> dict[str, str]:
        return {}

    async def response(request: Request, name: str) -> Response:
        return Response()

    async def versioned(request: Request, name: str, version: str) -> Response:
        return Response()

    routes = [
        APIRoute("/a", document, methods=["POST"]),
        APIRoute("/b/{name}", response, methods=["GET"]),
        APIRoute("/c/{name}", response, methods=["POST"]),
        APIRoute("/d/{name}/{version}", versioned, methods=["POST"]),
    ]
    found = shortcuts(routes, "faces")
    assert set(found) == {"/c/faces"}
    assert found["/c/faces"].path == "/c/{name}"


def post(app: FastPath, **headers: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            return await client.post("http://service/busy", json={"a": 1}, headers=headers)

    return asyncio.run(ask())


class Body(BaseModel):
    a: int


def test_json_takes_the_short_way_and_other_spellings_of_it_the_long_one():
    async def way(body: Body, request: Request) -> Response:
        return Response(f"{body.a}{'long' if 'app' in request.scope else 'short'}")

    assert post(app_of(way)).text == "1short"
    assert post(app_of(way), **LONG).text == "1long"


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (InputError("ask for fewer."), 422, "ask for fewer."),
        (RuntimeError("a secret"), 500, "its log says how"),
    ],
)
def test_a_failure_on_the_short_way_is_a_problem_and_not_a_traceback(error, status, said, caplog):
    async def fails(request: Request) -> Response:
        raise error

    with caplog.at_level(logging.ERROR):
        answer = post(app_of(fails))
    assert answer.status_code == status
    assert answer.headers["content-type"] == problems.MEDIA_TYPE
    assert said in answer.json()["detail"]
    assert "secret" not in answer.text
    assert ("a secret" in caplog.text) == (status == 500)

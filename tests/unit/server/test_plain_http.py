"""What HTTP lets a client do: HEAD, OPTIONS, other codings and media types, names twice."""

from __future__ import annotations

import gzip
import socket

import pytest

READ = ["/", "/page/style.css", "/page/api.html", "/v1/model", "/v2", "/v2/health/live",
        "/v2/health/ready", "/v2/models/generator", "/metrics", "/openapi.json"]  # fmt: skip


@pytest.mark.parametrize("path", READ)
def test_head_is_get_without_the_body(service, path):
    head, got = service.client.head(path), service.client.get(path)
    assert head.status_code == got.status_code == 200
    assert head.content == b""
    assert head.headers["content-type"] == got.headers["content-type"]
    if path != "/metrics":  # whose figures move
        assert head.headers["content-length"] == got.headers["content-length"] != "0"


def test_head_of_what_there_is_not_is_refused_as_get_is(service):
    assert service.client.head("/nowhere").status_code == 404
    assert service.client.head("/v1/samples").status_code == 405


@pytest.mark.parametrize(
    ("path", "allowed"),
    [(path, "GET, HEAD, OPTIONS") for path in READ]
    + [("/v1/samples", "POST, OPTIONS"), ("/v2/models/generator/infer", "POST, OPTIONS")],
)
def test_options_and_a_wrong_method_say_what_a_path_takes(service, path, allowed):
    answer = service.client.options(path)
    assert answer.status_code == 204
    assert answer.headers["allow"] == allowed
    refused = service.client.put(path)
    assert refused.status_code == 405
    assert refused.headers["allow"] == allowed
    assert service.client.options("/nowhere").status_code == 404


def test_a_compressed_body_is_refused_wherever_it_is_sent(service):
    for path in ("/v1/samples", "/v1/latents", "/v2/models/generator/infer"):
        for coding in ("gzip", "br", "GZIP"):
            answer = service.client.post(
                path, content=gzip.compress(b"{}"),
                headers={"content-encoding": coding, "content-type": "application/json"},
            )  # fmt: skip
            assert answer.status_code == 415
            assert "uncompressed" in answer.json()["detail"]
    plain = {"content-encoding": "identity", "content-type": "application/json"}
    assert service.client.post("/v1/samples", content=b"{}", headers=plain).status_code == 200


@pytest.mark.parametrize("kind", [None, "application/x-www-form-urlencoded", "text/plain", "json"])
def test_a_body_of_another_kind_is_told_what_to_send(service, kind):
    headers = {} if kind is None else {"content-type": kind}
    for content in (b'{"n": 1}', b""):
        answer = service.client.post("/v1/samples", content=content, headers=headers)
        assert answer.status_code == 415
        assert "Content-Type: application/json" in answer.json()["detail"]


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "application/a+json"])
def test_every_spelling_of_json_is_json(service, kind):
    headers = {"content-type": kind}
    assert service.client.post("/v1/samples", content=b"{}", headers=headers).status_code == 200
    wrong = service.client.post("/v1/samples", content=b'{"n": 0}', headers=headers)
    assert wrong.status_code == 422


def test_a_request_names_one_host(service):
    with socket.create_connection(("127.0.0.1", service.port), 30) as connection:
        connection.sendall(
            b"GET /v1/model HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n"
            b"Connection: close\r\n\r\n"
        )
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"names one Host" in answer

"""Clients that send slowly, take slowly, or send nothing, and what a signal finds of them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import socket
import threading
import time

import httpx
import pytest

POST = b"POST /v1/samples HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def _connected(service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), 30)


def _rest(connection: socket.socket, seconds: float = 30) -> bytes:
    """All that comes until the service closes; fails when it does not."""
    connection.settimeout(seconds)
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def _dripped(connection: socket.socket, drop: bytes, seconds: float) -> float:
    """Send a byte now and then until the service answers or closes; how long that took."""
    began_s = time.monotonic()
    while time.monotonic() - began_s < seconds:
        if select.select([connection], [], [], 0.2)[0]:
            return time.monotonic() - began_s
        try:
            connection.sendall(drop)
        except OSError:
            return time.monotonic() - began_s
    raise AssertionError("neither an answer nor an end")


def _is_problem(answer: bytes, status: int, said: str) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"application/problem+json" in head
    assert said in json.loads(body)["detail"]


@pytest.fixture(scope="module")
def hurried(serve, model):
    """A service that gives each part of a request a second or two."""
    return serve(
        model, "--timeout-s", 2, "--header-timeout-s", 1.0, "--max-images", 200_000,
        "--queue-images", 400_000,
    )  # fmt: skip


def test_a_body_or_a_head_that_comes_byte_by_byte_ends_with_408(hurried):
    with _connected(hurried) as body, _connected(hurried) as head, _connected(hurried) as silent:
        body.sendall(POST + b"Content-Length: 1000\r\n\r\n{")
        head.sendall(b"GET / HTTP/1.1\r\nHost: ")
        assert _dripped(head, b"a", 8) < 6
        _is_problem(_rest(head), 408, "the head of the request did not come within 1 s")
        assert _rest(silent) == b""
        assert _dripped(body, b" ", 8) < 6
        _is_problem(_rest(body), 408, "the body of the request did not come within 2 s")
    with _connected(hurried) as chunked:
        chunked.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        assert _dripped(chunked, b"1\r\n \r\n", 8) < 6
        _is_problem(_rest(chunked), 408, "did not come within 2 s")
    assert "Traceback" not in hurried.said()


def test_an_answer_that_nobody_takes_is_given_up(hurried):
    body = b'{"n": 40000, "format": "raw"}'
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", hurried.port))
        connection.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert select.select([connection], [], [], 60)[0], "30 MB are there to be taken"
        patience_s, open_files = time.monotonic() + 30, _open_sockets(hurried)
        while _open_sockets(hurried) >= open_files and time.monotonic() < patience_s:
            time.sleep(0.2)
        assert _open_sockets(hurried) < open_files


def _open_sockets(service) -> int:
    folder = f"/proc/{service.process.pid}/fd"
    found = 0
    for name in os.listdir(folder):
        try:
            found += os.readlink(f"{folder}/{name}").startswith("socket:")
        except OSError:
            continue
    return found


def test_a_head_of_a_megabyte_is_refused_in_words_and_what_is_no_http_too(hurried):
    for head in (b"X-Long: " + b"a" * (1 << 20) + b"\r\n", b"X-Many: aaaaaaaa\r\n" * 60_000):
        with _connected(hurried) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n")
            _is_problem(_rest(connection), 431, "at most 65536 bytes")
    with _connected(hurried) as connection:  # in one piece, with a body behind it
        body = b'{"n": 1}' + b" " * 100_000
        connection.sendall(
            POST + b"Connection: close\r\nX-Long: " + b"a" * 60_000
            + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )  # fmt: skip
        assert _rest(connection).startswith(b"HTTP/1.1 200 ")
    with _connected(hurried) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")  # TLS, to a port without
        _is_problem(_rest(connection), 400, "not HTTP")


def test_sockets_that_send_nothing_make_room_and_a_full_house_says_503(serve, model):
    service = serve(model, "--max-connections", 40, "--header-timeout-s", 60)
    idle = [_connected(service) for _ in range(100)]
    try:
        for connection in idle:
            connection.sendall(b"GET /")
        for _ in range(3):
            with httpx.Client(base_url=service.url, timeout=30) as client:
                assert client.post("/v1/samples", json={}).status_code == 200
        assert "full: 40 connections are open" in service.said()
    finally:
        for connection in idle:
            connection.close()
    busy = [_connected(service) for _ in range(40)]
    try:
        for connection in busy:
            connection.sendall(POST + b"Content-Length: 1000\r\n\r\n")
        patience_s = time.monotonic() + 30
        answer = b""
        while b" 503 " not in answer and time.monotonic() < patience_s:
            with _connected(service) as one_more:
                one_more.sendall(
                    b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
                )
                answer = _rest(one_more)
        _is_problem(answer, 503, "40 connections are open already")
        assert re.search(rb"(?i)retry-after: 1\r\n", answer)
    finally:
        for connection in busy:
            connection.close()
    assert "Traceback" not in service.said()


def test_a_signal_ends_it_in_time_with_a_true_last_sentence(serve, model):
    service = serve(
        model, "--timeout-s", 3, "--max-images", 200_000, "--queue-images", 400_000,
        "--body-timeout-s", 60,
    )  # fmt: skip
    with _connected(service) as slow:
        slow.sendall(POST + b"Content-Length: 1000\r\n\r\n{")
        time.sleep(0.3)
        service.process.send_signal(signal.SIGTERM)
        began_s = time.monotonic()
        dripping = threading.Thread(target=_dripped, args=(slow, b" ", 20))
        dripping.start()
        assert service.process.wait(30) == 0
        assert time.monotonic() - began_s < 12
        dripping.join()
        _is_problem(_rest(slow), 503, "shuts down")
    assert "by SIGTERM; of what was accepted, 1 could not be answered in 3 s: 503" in service.said()
    assert "Traceback" not in service.said()

"""Protects: a receiver can trust what it is told, and none can hold a run up."""

import hashlib
import hmac
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pipelines import hooks

SECRET = "pa55word"
FACTS = {"flow": "retrain", "run": "brave-otter", "run_id": "7", "message": "Größe 3 → 4"}


@pytest.fixture
def receiver(monkeypatch):
    """One as in docs/how-to/schedules.md: takes what is signed and new, refuses the rest."""
    taken: list[dict[str, str]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            stamp = self.headers["X-Monge-Timestamp"]
            signed = hmac.new(SECRET.encode(), stamp.encode() + b"." + body, hashlib.sha256)
            right = hmac.compare_digest(
                self.headers.get("X-Monge-Signature", ""), "sha256=" + signed.hexdigest()
            )
            fresh = abs(time.time() - int(stamp)) < 300
            if right and fresh:
                taken.append(json.loads(body))
            self.send_response(204 if right and fresh else 401)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://user:{SECRET}@127.0.0.1:{server.server_port}/hook"
    monkeypatch.setenv(hooks.ADDRESS, address)
    monkeypatch.setenv(hooks.SECRET, SECRET)
    monkeypatch.setenv("MONGE_PROJECT", "digits")
    yield taken
    server.shutdown()
    server.server_close()


def test_a_receiver_that_checks_the_signature_takes_the_event(receiver):
    assert hooks.tell("failure", FACTS)
    assert receiver[0] | FACTS | {"event": "failure", "project": "digits"} == receiver[0]


def test_without_the_right_secret_it_is_refused_and_the_run_goes_on(receiver, monkeypatch, caplog):
    monkeypatch.setenv(hooks.SECRET, "another")
    with caplog.at_level("WARNING", "prefect.monge.hooks"):
        assert not hooks.tell("failure", FACTS)
    assert receiver == []
    assert SECRET not in caplog.text


def test_a_champion_is_told_of_and_a_version_that_is_none_is_not(receiver):
    facts = {"sentence": "s", "champion": "models:/digits@champion", "model_hash": "ab"}
    hooks.promoted({**facts, "promoted": False})
    hooks.promoted({**facts, "promoted": True})
    assert [(each["event"], each["champion"]) for each in receiver] == [
        ("promotion", "models:/digits@champion")
    ]


def test_a_receiver_that_never_answers_costs_a_bounded_time(monkeypatch):
    monkeypatch.setattr(hooks, "WITHIN_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv(hooks.ADDRESS, f"http://127.0.0.1:{silent.getsockname()[1]}/")
        began = time.monotonic()
        assert not hooks.tell("crash", FACTS)
        assert time.monotonic() - began < 10

"""Protects: a receiver can trust what it is told, and none can hold a run up."""

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipelines import hooks

SECRET = "pa55word"
FACTS = {"flow": "retrain", "run": "brave-otter", "run_id": "7", "message": "Größe 3 → 4"}


@pytest.fixture
def receiver(monkeypatch):
    """One that checks as docs/how-to/schedules.md says: takes what is signed, refuses the rest."""
    taken: list[dict[str, str]] = []
    page = (Path(__file__).parents[3] / "docs/how-to/schedules.md").read_text("utf-8")
    shown: dict[str, Any] = {}
    exec(page.partition("```python\n")[2].partition("```")[0], shown)
    is_ours = shown["is_ours"]

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            ours = is_ours(SECRET, self.headers, body)
            if ours:
                taken.append(json.loads(body))
            self.send_response(204 if ours else 401)
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


def test_the_decision_about_new_images_is_told_whatever_it_is_with_its_figures(receiver):
    figures = {"new images": 42, "windows": [{"p_value": 0.004, "mmd_squared": 0.02}]}
    hooks.decided("42 new images: worth a training", True, figures)
    hooks.decided("3 new images: not worth a training yet", False, {})
    assert [(each["event"], each["message"], each["train"]) for each in receiver] == [
        ("new-data", "42 new images: worth a training", True),
        ("new-data", "3 new images: not worth a training yet", False),
    ]
    assert receiver[0]["figures"] == figures


def test_a_receiver_that_never_answers_costs_a_bounded_time(monkeypatch):
    monkeypatch.setattr(hooks, "WITHIN_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv(hooks.ADDRESS, f"http://127.0.0.1:{silent.getsockname()[1]}/")
        began = time.monotonic()
        assert not hooks.tell("crash", FACTS)
        assert time.monotonic() - began < 10

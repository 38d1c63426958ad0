"""Protects: a run stops when it is cancelled or late, also after its server was away."""

import json
from typing import Any

import httpx
import pytest

from pipelines import automations, child, watch


@pytest.fixture
def stops(monkeypatch):
    """How often what runs was told to stop."""
    told: list[str] = []
    monkeypatch.setattr(watch, "POLL_S", 0.001)
    monkeypatch.setattr(child, "stop", lambda: told.append("stop"))
    return told


API = "http://server/api"
posted: list[dict[str, Any]] = []


def answering(*answers):
    """A client of a server that answers so, one after the other; an error is one that is away."""
    left = list(answers)

    def handle(request):
        if request.method == "POST":
            assert request.url.path == "/api/flow_runs/7/set_state"
            posted.append(json.loads(request.content))
            return httpx.Response(201, json={})
        assert request.url.path == "/api/flow_runs/7"
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return httpx.Client(transport=httpx.MockTransport(handle), base_url=API)


def state(name, message=None):
    return httpx.Response(200, json={"state": {"type": name, "message": message}})


def test_a_cancellation_is_heard_after_the_server_was_away(stops):
    looks = watch.Watch(None, print)
    away = (httpx.ConnectError("refused"), httpx.Response(500), httpx.Response(200, text="<html>"))
    looks.run(answering(state("RUNNING"), *away, state("RUNNING"), state("CANCELLING")), "7")
    assert stops == ["stop"]
    assert looks.outcome(None).is_cancelled()


def test_a_run_that_was_taken_for_dead_while_its_server_was_away_is_not(stops):
    posted.clear()
    looks = watch.Watch(None, print)
    dead = state("CRASHED", automations.MESSAGE)
    looks.run(
        answering(dead, state("RUNNING"), state("CRASHED", "by hand"), state("CANCELLING")), "7"
    )
    assert [(each["state"]["type"], each["force"]) for each in posted] == [("RUNNING", True)]


def test_a_run_is_stopped_when_its_hours_are_over_and_has_failed(stops):
    looks = watch.Watch(1e-9, print)
    looks.run(None, "")
    assert stops == ["stop"]
    outcome = looks.outcome(None)
    assert outcome.is_failed()
    assert "hours; what was done is kept" in outcome.message


def test_a_run_that_nobody_stops_keeps_its_own_outcome(stops):
    looks = watch.Watch(24, print)
    looks.end()
    looks.run(answering(), "7")
    assert (stops, looks.outcome("its own")) == ([], "its own")

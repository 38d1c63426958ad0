"""Protects: a run stops when it is cancelled or late, also after its server was away."""

import json
import time
from typing import Any

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.logging import disable_run_logger
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY, PREFECT_API_URL
from prefect.settings.context import temporary_settings
from prefect.states import Completed

from monge.errors import InputError
from pipelines import automations, child, generate, watch
from pipelines.studies import flow as studies


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


@pytest.mark.parametrize(
    "given",
    [
        {PREFECT_API_AUTH_STRING: "monge:pa55wörd"},
        {PREFECT_API_KEY: "pnu_key"},
        {PREFECT_API_AUTH_STRING: "monge:pa55word", PREFECT_API_KEY: "pnu_key"},
    ],
)
def test_a_server_that_wants_a_password_is_asked_with_it_as_prefect_s_own_client_does(given):
    with temporary_settings({PREFECT_API_URL: API, **given}):
        client = watch._client()
        own = get_client(sync_client=True)._client
    assert client.headers["Authorization"] == own.headers["Authorization"]
    assert client.headers["Authorization"].startswith(("Basic ", "Bearer "))


def test_what_fails_on_its_way_to_a_stop_was_stopped_and_what_fails_alone_has_failed(stops):
    def stopped():
        for _ in range(5000):
            if stops:
                raise RuntimeError("the child ended with exit code -15")
            time.sleep(0.001)

    def failing(error):
        raise error

    with disable_run_logger():
        assert "hours; what was done is kept" in watch.looked_after(1e-9, stopped).message
        assert stops == ["stop"]
        told = watch.looked_after(None, lambda: failing(InputError("no such name")))
        assert (told.is_failed(), told.message) == (True, "no such name")
        with pytest.raises(RuntimeError, match="of its own"):
            watch.looked_after(24, lambda: failing(RuntimeError("of its own")))
        assert watch.looked_after(24, Completed).is_completed()


def test_a_shard_or_a_study_does_not_begin_once_the_run_is_stopped(monkeypatch, tmp_path):
    monkeypatch.setattr(child, "stopping", True)
    assert generate.make_shard.fn(0, "no model", str(tmp_path), {}, 1).is_failed()
    retried: Any = generate.make_shard.retry_condition_fn
    assert retried(None, None, None) is False
    with pytest.raises(RuntimeError, match="the same command goes on"):
        studies.try_claim.fn("no study", 0, "quick", str(tmp_path))

"""Protects: what needs a server waits for one that is away, says so, and gives up in time."""

from __future__ import annotations

import logging

import pytest

from monge.errors import InputError, ServerAway
from monge.stages import waiting


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "POLL_S", 0.01)


def test_a_server_that_comes_back_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    tries: list[int] = []

    def work() -> str:
        tries.append(1)
        if len(tries) < 4:
            raise ServerAway("http://h does not answer.")
        return "done"

    with caplog.at_level(logging.WARNING, "monge"):
        assert waiting.when_back(work, 60.0) == "done"
    assert len(tries) == 4
    said = [record.getMessage() for record in caplog.records]
    assert said == ["waiting for the server, for 60 s at most: http://h does not answer."]


@pytest.mark.parametrize(
    ("error", "wait_s"),
    [(ServerAway("away"), 0.05), (ServerAway("away"), 0.0), (InputError("x"), 60)],
)
def test_it_is_not_waited_for_longer_than_allowed_nor_where_the_setting_is_wrong(
    error: Exception, wait_s: float
) -> None:
    tries: list[int] = []

    def work() -> None:
        tries.append(1)
        raise error

    with pytest.raises(type(error)) as told:
        waiting.when_back(work, wait_s)
    assert told.value is error
    assert (len(tries) > 1) == (wait_s == 0.05)

"""The turn at a registered model, against a client that answers as MLflow's does in a race."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from monge.errors import ServiceError
from monge.registry import lock as locks
from monge.registry.lock import turn

mlflow = pytest.importorskip("mlflow.exceptions")


class Client:
    """Refuses as told, then gives the turn."""

    def __init__(self, *refusals: str) -> None:
        self.refusals = list(refusals)
        self.turns = [1]
        self.calls: list[str] = []

    def create_registered_model(self, name: str) -> None:
        self.calls.append(f"create {name}")
        if self.refusals:
            raise mlflow.MlflowException("no", _code(self.refusals.pop(0)))

    def get_registered_model(self, name: str) -> Any:
        turn = self.turns.pop(0) if len(self.turns) > 1 else self.turns[0]
        return SimpleNamespace(creation_timestamp=turn)

    def delete_registered_model(self, name: str) -> None:
        self.calls.append(f"delete {name}")


def _code(name: str) -> int:
    from mlflow.protos import databricks_pb2

    return int(getattr(databricks_pb2, name))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_POLL_S", 0.01)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that goes on by 40 seconds whenever somebody waits."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda _: now.append(now.pop() + 40.0))
    return now


def test_whoever_can_make_the_name_has_the_turn_and_gives_it_back() -> None:
    client = Client()
    with turn(client, "faces"):
        assert client.calls == ["create faces.promoting"]
    assert client.calls[1:] == ["delete faces.promoting"]


def test_a_turn_given_back_while_the_server_looks_is_waited_for() -> None:
    """MLflow answers 404 then: it refuses the name, and does not find who has it."""
    client = Client("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST")
    with turn(client, "faces"):
        assert client.calls == 3 * ["create faces.promoting"]


def test_a_turn_that_is_held_longer_than_any_is_taken_away(clock: list[float]) -> None:
    client = Client(*3 * ["RESOURCE_ALREADY_EXISTS"])
    with turn(client, "faces"):
        assert client.calls == [
            *3 * ["create faces.promoting"], "delete faces.promoting", "create faces.promoting",
        ]  # fmt: skip


def test_turns_of_others_one_after_the_other_are_left_to_them(clock: list[float]) -> None:
    client = Client(*6 * ["RESOURCE_ALREADY_EXISTS"])
    client.turns = [1, 2, 3, 4, 5, 6]
    with turn(client, "faces"):
        assert client.calls == 7 * ["create faces.promoting"]


@pytest.mark.parametrize("jump_s", [-1e9, 1e9])
def test_a_clock_that_is_wrong_takes_no_turn_away(
    monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    real_s = time.time()
    monkeypatch.setattr(time, "time", lambda: real_s + jump_s)
    client = Client(*3 * ["RESOURCE_ALREADY_EXISTS"])
    with turn(client, "faces"):
        assert client.calls == 4 * ["create faces.promoting"]


def test_other_troubles_are_told_and_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(mlflow.MlflowException), turn(Client("INTERNAL_ERROR"), "faces"):
        pass
    monkeypatch.setattr(locks, "_PATIENCE_S", 0.05)
    busy = Client(*100 * ["RESOURCE_ALREADY_EXISTS"])
    with pytest.raises(ServiceError, match="took ten minutes"), turn(busy, "faces"):
        pass

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

    def __init__(self, *refusals: str, taken_s: float = 0.0) -> None:
        self.refusals, self.taken_s = list(refusals), taken_s
        self.calls: list[str] = []

    def create_registered_model(self, name: str) -> None:
        self.calls.append(f"create {name}")
        if self.refusals:
            raise mlflow.MlflowException("no", _code(self.refusals.pop(0)))

    def get_registered_model(self, name: str) -> Any:
        return SimpleNamespace(creation_timestamp=1000 * (time.time() - self.taken_s))

    def delete_registered_model(self, name: str) -> None:
        self.calls.append(f"delete {name}")


def _code(name: str) -> int:
    from mlflow.protos import databricks_pb2

    return int(getattr(databricks_pb2, name))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_POLL_S", 0.01)


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


def test_a_turn_as_old_as_no_promotion_is_taken_away() -> None:
    client = Client("RESOURCE_ALREADY_EXISTS", taken_s=locks.STALE_S + 1)
    with turn(client, "faces"):
        assert client.calls == [
            "create faces.promoting", "delete faces.promoting", "create faces.promoting",
        ]  # fmt: skip


def test_other_troubles_are_told_and_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(mlflow.MlflowException), turn(Client("INTERNAL_ERROR"), "faces"):
        pass
    monkeypatch.setattr(locks, "_PATIENCE_S", 0.05)
    busy = Client(*100 * ["RESOURCE_ALREADY_EXISTS"])
    with pytest.raises(ServiceError, match="took ten minutes"), turn(busy, "faces"):
        pass

"""A new champion takes over between batches; a broken one is refused and the old one goes on."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from monge.errors import InputError, ServiceError
from monge.server.follow import Follower
from monge.server.models import Model, Models, open_model
from monge.server.prometheus import Measures
from monge.serving.origin import Found
from monge.serving.sampler import Sampler
from tests.running import write


class Alias:
    """A registry's alias that a test moves."""

    def __init__(self, path: Path) -> None:
        self.problem: Exception | None = None
        self.looked = self.opened = 0
        self.move(path, 1)

    def move(self, path: Path, number: int, model_hash: str | None = None) -> None:
        self.path, self.number = path, number
        self.hash = model_hash or Sampler.load(path, "cpu").model_hash

    def look_up(self) -> Found:
        self.looked += 1
        if self.problem:
            raise self.problem
        return Found("faces", self.number, self.hash, lambda: self.path, lambda: None)

    def open(self) -> Model:
        self.opened += 1
        return Model(Sampler.load(self.path, "cpu"), "faces", str(self.number))


@pytest.fixture
def alias(model):
    return Alias(model)


@pytest.fixture
def follower(alias, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return Follower(Models(alias.open()), Measures(lambda: 0), 0.01, alias.look_up, alias.open)


def ask(follower: Follower) -> None:
    asyncio.run(follower.ask())


def test_an_alias_that_stays_opens_nothing(follower, alias):
    ask(follower)
    ask(follower)
    assert alias.opened == 1


def test_a_new_version_answers_in_the_place_of_the_old_one(follower, alias, tmp_path):
    alias.move(write(tmp_path / "new.onnx", seed=1), 2)
    ask(follower)
    assert follower.models.current.version == "2"
    text = follower.measures.text().decode()
    assert 'monge_model{name="faces",provider="cpu",' in text
    assert 'version="2"} 1.0' in text
    assert "monge_model_switches_total 1.0" in text


def test_a_broken_version_is_refused_once_and_the_next_one_is_taken(
    follower, alias, tmp_path, caplog
):
    whole = write(tmp_path / "new.onnx", seed=1).read_bytes()
    (tmp_path / "broken.onnx").write_bytes(whole[:-1000])
    alias.path, alias.number, alias.hash = tmp_path / "broken.onnx", 2, "another"
    ask(follower)
    ask(follower)
    assert alias.opened == 2  # the first one, and one try
    assert follower.models.current.version == "1"
    assert "faces version 2 is refused, version 1 goes on" in caplog.text
    assert "monge_model_refusals_total 1.0" in follower.measures.text().decode()
    alias.move(tmp_path / "new.onnx", 3)
    ask(follower)
    assert follower.models.current.version == "3"


def test_a_rollback_from_a_broken_version_opens_nothing(follower, alias, model, tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    alias.path, alias.number, alias.hash = tmp_path / "broken.onnx", 2, "another"
    ask(follower)
    opened = alias.opened
    alias.move(model, 1)
    ask(follower)
    assert alias.opened == opened
    alias.path, alias.number, alias.hash = tmp_path / "broken.onnx", 2, "another"
    ask(follower)
    assert alias.opened == opened + 1  # a version that comes again is tried again


def test_a_registry_that_does_not_answer_is_asked_less_often(follower, alias, caplog):
    alias.problem = ServiceError("The registry does not answer.")

    async def a_while() -> None:
        task = asyncio.create_task(follower.run())
        await asyncio.sleep(0.4)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(a_while())
    assert 2 <= alias.looked <= 7  # 0.01, 0.02, 0.04 s and so on
    assert "does not answer. Version 1 goes on." in caplog.text


def test_an_alias_that_is_gone_changes_nothing(follower, alias):
    alias.problem = InputError("models:/faces@champion: not in the registry.")
    with pytest.raises(ServiceError):
        ask(follower)
    assert follower.models.current.version == "1"


def test_a_file_is_called_generator_version_1(model):
    opened = open_model(str(model), "cpu", 1)
    assert (opened.name, opened.version) == ("generator", "1")
    assert dataclasses.is_dataclass(opened)

"""Protects: the look for new images adds what arrived and starts a training when it is worth it."""

from __future__ import annotations

import json

import pytest
from prefect.client.schemas.objects import State
from prefect.logging import disable_run_logger
from prefect.states import Completed, Failed

from monge.stages.noticing import Notice
from monge.versions.drift import Policy
from pipelines import child, hooks
from pipelines import new_data as module
from pipelines.child import Ended
from tests.pipeline.test_data_versions import draw


def test_what_arrives_is_added_and_looked_at(project, monkeypatch):
    home = project.folder
    parameters = (home / "params.yaml").read_text()
    (home / "params.yaml").write_text(parameters.replace("source: digits", "source: folder"))
    draw(home / "incoming" / "cat", range(6))
    draw(home / "incoming" / "dog", range(10, 15))
    monkeypatch.chdir(home)

    def run(command, log):  # as pipelines.child does, which other tests run
        done = project.run(*command, check=False)
        return Ended(done.returncode, tuple(done.stdout.splitlines()))

    monkeypatch.setattr(child, "run", run)
    with disable_run_logger():
        assert module.collect.fn("incoming", False) is None
        (line,) = (home / "data" / "versions.jsonl").read_text().splitlines()
        assert json.loads(line)["classes"] == {"cat": 6, "dog": 5}
        found = module.look.fn(Policy())
    assert found.train
    assert found.sentence == "nothing is packed here yet: a first training"
    draw(home / "other", range(40, 42))
    with disable_run_logger():
        refused = module.collect.fn("other", False)
    assert isinstance(refused, State)
    assert "--into" in str(refused.message)


@pytest.mark.parametrize("outcome", [Completed(), Failed(message="train ended with exit code 4")])
def test_the_decision_is_told_and_kept_to(monkeypatch, outcome):
    asked, artifacts, events = [], [], []
    found = Notice(True, "42 new images: worth a training", {"new images": 42}, b"\x89PNG")

    def retrain(changes: list[str], return_state: bool) -> State:
        asked.append(changes)
        return outcome

    monkeypatch.setattr(module, "collect", lambda *_, return_state: Completed())
    monkeypatch.setattr(module, "look", lambda *_, return_state: Completed(data=found))
    monkeypatch.setattr(module, "retrain", retrain)
    monkeypatch.setattr(module, "start_of", lambda *_: (["train.init_from=there"], "from there"))
    monkeypatch.setattr(
        module, "create_markdown_artifact", lambda text, key, description: artifacts.append(text)
    )
    monkeypatch.setattr(hooks, "decided", lambda *facts: events.append(facts))
    with disable_run_logger():
        state = module.new_data.fn(start="fine-tune", changes=["train.steps=7"])
        assert asked == [["train.init_from=there", "train.steps=7"]]
        assert found.sentence in artifacts[0]
        assert "data:image/png;base64,iVBOR" in artifacts[0]
        assert found.sentence in state.message
        assert events == [(found.sentence, True, {"new images": 42})]
        assert state.is_completed() == outcome.is_completed()
        assert outcome.is_completed() or "exit code 4" in state.message
        found = Notice(False, "3 new images: not worth a training yet")
        monkeypatch.setattr(module, "look", lambda *_, return_state: Completed(data=found))
        state = module.new_data.fn()
    assert events[1:] == [(found.sentence, False, {})]
    assert len(asked) == 1
    assert state.is_completed()
    assert state.message == found.sentence

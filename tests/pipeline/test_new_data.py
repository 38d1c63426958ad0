"""Protects: the look for new images adds what arrived and starts a training when it is worth it."""

from __future__ import annotations

import json
import sys

import pytest

from tests.pipeline.test_data_versions import draw

pytestmark = pytest.mark.timeout(600)

# The training itself is the flow `retrain`, which other tests run: here it notes what it is asked.
_LOOKED = """
import json, sys
from pathlib import Path
from prefect import flow
from prefect.client.orchestration import get_client
from pipelines import new_data as module

@flow(name="retrain")
def retrain(changes=None):
    Path("asked.json").write_text(json.dumps(changes))

module.retrain = retrain
state = module.new_data(
    incoming="incoming", start="fine-tune", changes=["train.steps=7"], return_state=True)
with get_client(sync_client=True) as client:
    artifacts = [each.data for each in client.read_artifacts()]
print(json.dumps({"message": state.message, "artifacts": artifacts}))
"""


def test_what_arrives_is_added_and_trained_on_and_told(project):
    home = project.folder
    parameters = (home / "params.yaml").read_text()
    (home / "params.yaml").write_text(parameters.replace("source: digits", "source: folder"))
    draw(home / "incoming" / "cat", range(6))
    draw(home / "incoming" / "dog", range(10, 15))
    found = json.loads(project.run(sys.executable, "-c", _LOOKED).stdout.splitlines()[-1])
    sentence = "nothing is packed here yet: a first training"
    assert found["message"] == f"{sentence}; the training is done"
    assert [text for text in found["artifacts"] if sentence in text]
    # There is no champion whose checkpoints one could go on from.
    assert json.loads((home / "asked.json").read_text()) == ["train.steps=7"]
    (line,) = (home / "data" / "versions.jsonl").read_text().splitlines()
    assert json.loads(line)["classes"] == {"cat": 6, "dog": 5}

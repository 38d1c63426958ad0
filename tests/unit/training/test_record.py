"""Protects: a training says with which settings, by which code, at which revision it was made."""

import json
import subprocess

import pytest
import torch

from monge.data.packed import PackedDataset
from monge.errors import CheckpointMismatch
from monge.files import sha256
from monge.params import TrainParams
from monge.tracking import NullRun
from monge.training import loop
from monge.training.checkpoints import checkpoint, record, resume
from monge.training.context import Training

WHO = ("-c", "user.name=t", "-c", "user.email=t@example.org")


def small(**changes):
    return TrainParams.model_validate(
        {
            "steps": 4, "batch_size": 8, "latent_dim": 4, "mlp": {"depth": 1, "width": 8},
            "log_every": 2, "grid_every": 100, "checkpoint_every": 2, "quality_every": 100,
            "learning_rate_decay": "none", **changes,
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def dataset(packed_digits):
    return PackedDataset.open(packed_digits)


def told(folder):
    found = record.read(folder)
    assert found is not None
    return found


def sessions(folder):
    return [(s["from_step"], s["parameters"]) for s in told(folder)["sessions"]]


def at(folder, step):
    found = checkpoint.at(folder, step)
    assert found is not None
    return found


def test_a_training_that_goes_on_with_the_same_settings_has_one_session(dataset, tmp_path):
    for steps in (4, 4):
        loop.train(Training(small(steps=steps), dataset, tmp_path, NullRun("a")))
    assert sessions(tmp_path) == [(0, small().model_dump(by_alias=True))]


def test_what_was_asked_for_last_is_there_though_no_step_was_taken(dataset, tmp_path):
    loop.train(Training(small(), dataset, tmp_path, NullRun("a")))
    key = record.run_key(tmp_path)
    for every in (1, 3):  # changes no weight: the training is at its end
        loop.train(Training(small(log_every=every), dataset, tmp_path, NullRun("a")))
    assert [(step, p["log_every"]) for step, p in sessions(tmp_path)] == [(0, 2), (4, 3)]
    loop.train(Training(small(), dataset, tmp_path, NullRun("a")))
    assert [(step, p["log_every"]) for step, p in sessions(tmp_path)] == [(0, 2)]
    loop.train(Training(small(steps=6, log_every=3), dataset, tmp_path, NullRun("a")))
    assert [(step, p["steps"]) for step, p in sessions(tmp_path)] == [(0, 4), (4, 6)]
    assert record.run_key(tmp_path) == key


def test_every_checkpoint_holds_the_record_of_its_training(dataset, tmp_path):
    loop.train(Training(small(), dataset, tmp_path, NullRun("a")))
    loop.train(Training(small(steps=6), dataset, tmp_path, NullRun("a")))
    early, late = at(tmp_path, 4), at(tmp_path, 6)
    assert len(early.record["sessions"]) == 1
    assert late.record == told(tmp_path)
    code, nets = record.identity(late.record, "code"), record.identity(late.record, "nets")
    assert code is not None
    assert nets is not None
    assert "objectives.wgan_gp.WganGp" in code.parts
    exported = {"nets.virtual.at_rest", "nets.virtual._fixed"}  # what an export does to a network
    assert nets.parts.keys() - exported < code.parts.keys()
    assert exported < nets.parts.keys()
    assert late.record["sessions"][-1]["versions"]["torch"] == torch.__version__.partition("+")[0]


def test_the_revision_and_the_difference_of_the_tree_are_kept(dataset, tmp_path):
    def git(*arguments):
        who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        done = subprocess.run(
            ["git", *who, *arguments], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    (tmp_path / "code.py").write_text("one = 1\n")
    (tmp_path / ".gitignore").write_text("/checkpoints\n")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "a")
    folder = tmp_path / "checkpoints"
    loop.train(Training(small(), dataset, folder, NullRun("a")))
    assert record.trained_at(told(folder)) == git("rev-parse", "HEAD")
    assert record.difference(told(folder), folder) is None
    (tmp_path / "code.py").write_text("one = 2\n")
    loop.train(Training(small(steps=6), dataset, folder, NullRun("a")))
    assert record.trained_at(told(folder)) == git("rev-parse", "HEAD") + "+changed"
    assert b"+one = 2" in (record.difference(told(folder), folder) or b"")
    assert [s["from_step"] for s in told(folder)["sessions"]] == [0, 4]


def test_a_training_at_its_end_keeps_the_revision_and_the_machine_of_its_last_steps(
    dataset, tmp_path
):
    """Asked again after a commit, it makes nothing: nothing of it is of that commit."""

    def commit(text):
        (tmp_path / "code.py").write_text(text)
        for command in (["add", "-A"], [*WHO, "commit", "-qm", text]):
            subprocess.run(["git", *command], cwd=tmp_path, check=True)
        asked = ["git", "rev-parse", "HEAD"]
        return subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True).stdout.strip()

    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / ".gitignore").write_text("/checkpoints\n")
    folder, first = tmp_path / "checkpoints", commit("one")
    loop.train(Training(small(threads=1), dataset, folder, NullRun("a")))
    commit("two")
    for asked in (small(threads=1), small(threads=2, log_every=1)):
        loop.train(Training(asked, dataset, folder, NullRun("a")))
        assert record.trained_at(told(folder)) == first
        assert record.environment(told(folder))["git.revision"] == first
    asked_last = record.parameters(told(folder)) or {}
    assert (asked_last["threads"], asked_last["log_every"]) == (2, 1)
    made = record.made_with(told(folder), 4) or {}
    assert (made["threads"], made["log_every"]) == (1, 1)  # the threads round the last bits
    third = commit("three")
    loop.train(Training(small(steps=6, threads=2), dataset, folder, NullRun("a")))
    assert record.trained_at(told(folder)) == third
    assert (record.made_with(told(folder), 6) or {})["threads"] == 2
    assert (record.made_with(told(folder), 4) or {})["threads"] == 1


def test_another_torch_goes_on_and_is_told(dataset, tmp_path, caplog):
    loop.train(Training(small(), dataset, tmp_path, NullRun("a")))
    path = tmp_path / record.FILE
    document = json.loads(path.read_text())
    document["sessions"][0]["versions"]["torch"] = "1.0"
    path.write_text(json.dumps(document))
    loop.train(Training(small(steps=6), dataset, tmp_path, NullRun("a")))
    (line,) = [r.message for r in caplog.records if "the steps so far took" in r.message]
    assert line.endswith("the steps so far took 1.0")
    assert line.startswith("going on with torch ")


@pytest.mark.parametrize(
    "damage",
    [
        "", "[]", "{}", '{"key": "../x", "code": null, "nets": null, "sessions": []}',
        '{"key": "a", "code": {"digest": 1}, "nets": null, "sessions": []}',
        '{"key": "a", "code": null, "nets": null, "sessions": [{"from_step": 0}]}',
        '{"key": "a", "code": null, "nets": null, "sessions": [{"from_step": 0, "parameters": {}, '
        '"versions": {}, "revision": null, "difference": "../../etc/passwd"}]}',
    ],
)  # fmt: skip
def test_a_damaged_record_is_none_and_a_new_one_is_begun(tmp_path, damage):
    (tmp_path / record.FILE).write_text(damage)
    assert record.read(tmp_path) is None
    key = record.run_key(tmp_path)
    assert key.isalnum()
    assert record.run_key(tmp_path) == key


def test_a_checkpoint_of_an_earlier_monge_is_refused_in_one_line(dataset, tmp_path):
    """Version 1 did not note the code."""
    loop.train(Training(small(), dataset, tmp_path, NullRun("a")))
    found = at(tmp_path, 4)
    state = {"format_version": 1, "step": 4, "fingerprint": found.fingerprint}
    (found.path / "state.json").write_text(json.dumps(state))
    tensors = checkpoint.digest(found.path)
    digest = sha256(found.path / "state.json")
    sums = f"{tensors}  tensors.safetensors\n{digest}  state.json\n"
    (found.path / "SHA256SUMS").write_text(sums)
    with pytest.raises(CheckpointMismatch, match=r"trained by other code \(unknown") as refused:
        loop.train(Training(small(steps=6), dataset, tmp_path, NullRun("a")))
    assert len(str(refused.value).splitlines()) == 1
    assert resume.is_other(Training(small(steps=6), dataset, tmp_path))

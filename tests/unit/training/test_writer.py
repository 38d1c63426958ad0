"""Protects: checkpoints are written beside the training, whole, and no failure is silent."""

import threading
import time

import pytest
import torch

from monge import objectives
from monge.errors import StorageError
from monge.params import TrainParams
from monge.training.checkpoints import checkpoint
from monge.training.checkpoints.writer import CheckpointWriter
from monge.training.state import TrainingState

CPU = torch.device("cpu")


def make(**changes):
    train = TrainParams.model_validate(
        {"mlp": {"depth": 1, "width": 8}, "latent_dim": 4, "checkpoint_every": 10} | changes
    )
    return train, TrainingState(train, objectives.build(train), (1, 8, 8), CPU)


def test_training_goes_on_while_a_checkpoint_is_written_and_does_not_change_it(
    tmp_path, monkeypatch
):
    train, state = make()
    writing, go_on = threading.Event(), threading.Event()
    write = checkpoint.write

    def slow(*arguments):
        writing.set()
        assert go_on.wait(120)
        return write(*arguments)

    monkeypatch.setattr(checkpoint, "write", slow)
    before = {name: tensor.clone() for name, tensor in state.tensors().items()}
    with CheckpointWriter(train, tmp_path, {}, {}) as checkpoints:
        checkpoints.save(state)
        assert writing.wait(120)
        with torch.no_grad():
            for weight in state.networks["generator"].parameters():
                weight.add_(1.0)  # the next iteration
        state.noise.latents(3)
        go_on.set()
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert all(torch.equal(found.tensors[name], before[name]) for name in before)


def test_leaving_waits_for_the_last_one(tmp_path, monkeypatch):
    train, state = make()
    write = checkpoint.write

    def slow(*arguments):
        time.sleep(0.3)
        return write(*arguments)

    monkeypatch.setattr(checkpoint, "write", slow)
    with CheckpointWriter(train, tmp_path, {}, {}) as checkpoints:
        state.step = 7
        checkpoints.save(state)
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found.step == 7


def test_a_failed_write_is_raised_by_the_next_save_or_on_leaving(tmp_path):
    train, state = make()
    (tmp_path / "file").write_text("")
    with CheckpointWriter(train, tmp_path / "file", {}, {}) as checkpoints:
        checkpoints.save(state)
        with pytest.raises(StorageError, match="the checkpoint cannot be written"):
            checkpoints.save(state)
    with (
        pytest.raises(StorageError, match="the checkpoint cannot be written"),
        CheckpointWriter(train, tmp_path / "file", {}, {}) as checkpoints,
    ):
        checkpoints.save(state)


def test_the_first_error_is_the_one_that_is_raised(tmp_path, caplog):
    train, state = make()
    (tmp_path / "file").write_text("")
    checkpoints = CheckpointWriter(train, tmp_path / "file", {}, {})
    checkpoints.save(state)
    error = ZeroDivisionError()
    checkpoints.__exit__(type(error), error, None)  # does not raise, so that `error` goes on
    assert "cannot be written" in caplog.text


def test_a_checkpoint_is_due_by_steps_by_minutes_and_at_the_end(tmp_path, monkeypatch):
    train, state = make(steps=25, checkpoint_every_minutes=2.0)
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with CheckpointWriter(train, tmp_path, {}, {}) as checkpoints:
        assert [step for step in range(1, 26) if checkpoints.due(step)] == [10, 20, 25]
        clock[0] += 119.0
        assert not checkpoints.due(3)
        clock[0] += 1.0
        assert checkpoints.due(3)
        checkpoints.save(state)
        assert not checkpoints.due(4)

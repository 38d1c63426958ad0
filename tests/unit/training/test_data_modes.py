"""Protects: where the images are kept changes no weight, mirroring them does, and both resume."""

import shutil
import threading

import pytest
import torch
from safetensors.torch import load_file

from monge.data.packed import PackedDataset
from monge.params import TrainParams
from monge.tracking import NullRun
from monge.training import loop
from monge.training.checkpoints.fingerprint import differences, fingerprint
from monge.training.context import Training


def small(**changes):
    values = {
        "steps": 6, "batch_size": 300, "latent_dim": 4, "threads": 1, "log_every": 2,
        "checkpoint_every": 2, "learning_rate_decay": "none", "mlp": {"depth": 1, "width": 8},
    }  # fmt: skip
    return TrainParams.model_validate(values | changes)


@pytest.fixture
def dataset(packed_digits):
    return PackedDataset.open(packed_digits)


def trained(params, dataset, folder):
    outcome = loop.train(Training(params, dataset, folder, NullRun("key")))
    assert not [thread for thread in threading.enumerate() if thread.name == "reader"]
    tensors = load_file(folder / "step-00000006" / "tensors.safetensors")
    return outcome, tensors, (folder / "history.csv").read_text()


def same(one, other):
    return one[2] == other[2] and all(torch.equal(one[1][name], other[1][name]) for name in one[1])


@pytest.mark.parametrize("flip", [False, True])
def test_a_training_ends_at_the_same_bits_kept_streamed_or_one_after_the_other(
    dataset, tmp_path, flip
):
    # Five critic steps of 300 images: iterations end in the middle of epochs of 1,437.
    kept = trained(small(data="resident", flip=flip), dataset, tmp_path / "kept")
    assert same(kept, trained(small(data="streamed", flip=flip), dataset, tmp_path / "streamed"))
    for before, after in (("kept", "streamed"), ("streamed", "resident"), ("streamed", "streamed")):
        folder = tmp_path / f"{before}-{after}"
        shutil.copytree(tmp_path / before, folder)
        shutil.rmtree(folder / "step-00000006")
        resumed = trained(small(data=after, flip=flip), dataset, folder)
        assert resumed[0].resumed_from == 4
        assert same(kept, resumed)


def test_mirrors_are_another_training_and_the_place_of_the_data_is_not(dataset, tmp_path):
    plain = fingerprint(small(), dataset)
    assert plain == fingerprint(small(data="streamed"), dataset)
    assert differences(plain, fingerprint(small(flip=True), dataset)) == [
        "train.flip: False -> True"
    ]
    one = trained(small(), dataset, tmp_path / "plain")
    assert not same(one, trained(small(flip=True), dataset, tmp_path / "flip"))

"""Protects: a conditional training learns its labels, resumes to the same bits, and is refused."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from monge import nets
from monge.data.packed import PackedDataset
from monge.data.writer import PackedWriter
from monge.errors import CheckpointMismatch, InputError
from monge.params import ExportParams, TrainParams
from monge.tracking import NullRun
from monge.training import labels, loop, trained
from monge.training.checkpoints import checkpoint
from monge.training.context import Training
from monge.training.forecast import plan

CPU = torch.device("cpu")


def settings(**changes):
    values = {
        "conditional": True, "steps": 6, "batch_size": 8, "latent_dim": 4, "threads": 1,
        "log_every": 2, "grid_every": 3, "quality_every": 3, "checkpoint_every": 2,
        "learning_rate_decay": "none", "mlp": {"depth": 1, "width": 8}, "dcgan": {"features": 2},
        "resnet": {"features": 2},
    }  # fmt: skip
    return TrainParams.model_validate(values | changes)


@pytest.fixture
def dataset(packed_digits):
    return PackedDataset.open(packed_digits)


def train(params, dataset, folder):
    return loop.train(Training(params, dataset, folder, NullRun("key")))


def weights(folder):
    return load_file(max(folder.glob("step-*")) / "tensors.safetensors")


@pytest.mark.parametrize("net", ["mlp", "dcgan", "resnet"])
@pytest.mark.parametrize("objective", ["wgan", "wgan-gp"])
def test_it_goes_on_to_the_same_bits_in_either_data_mode(dataset, tmp_path, net, objective):
    params = settings(net=net, objective=objective)
    train(params, dataset, tmp_path / "whole")
    train(params.model_copy(update={"steps": 4}), dataset, tmp_path / "parts")
    train(params.model_copy(update={"data": "streamed"}), dataset, tmp_path / "parts")
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    if net == "resnet":  # labels come into its norms
        assert whole["generator.net.2.norm1.scale"].shape == (10, 2)
        return
    assert (
        whole["generator.net.0.weight" if net == "mlp" else "generator.net.1.weight"].shape[
            1 if net == "mlp" else 0
        ]
        == 4 + 10
    )


@pytest.mark.parametrize("accumulate", [2, 4])
def test_a_batch_in_parts_gives_the_same_weights(dataset, tmp_path, accumulate):
    whole, parts = settings(steps=1), settings(steps=1, accumulate=accumulate)
    train(whole, dataset, tmp_path / "whole")
    train(parts, dataset, tmp_path / "parts")
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    for name in one:
        if name.startswith(("generator.", "critic.")):
            torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=1e-5)


def test_it_is_another_training_than_the_unconditional_one(dataset, tmp_path):
    train(settings(), dataset, tmp_path)
    with pytest.raises(CheckpointMismatch, match=r"train.conditional: True -> \(unset\)"):
        train(settings(conditional=False), dataset, tmp_path)


def test_images_without_classes_are_refused_with_what_to_do(tmp_path):
    with PackedWriter(tmp_path / "data", (1, 8, 8)) as writer:
        for split in ("train", "validation"):
            writer.append(split, np.zeros((40, 1, 8, 8), np.uint8))
        writer.finish()
    bare = PackedDataset.open(tmp_path / "data")
    with pytest.raises(InputError, match="a sub-folder for each class and run `monge prepare`"):
        train(settings(), bare, tmp_path / "out")
    assert checkpoint.latest(tmp_path / "out") is None


def test_a_dry_run_shows_its_networks_and_counts_their_memory(dataset, tmp_path):
    lines = "\n".join(plan.describe(Training(settings(), dataset, tmp_path), tmp_path / "lock"))
    assert f"{(4 + 10) * 8 + 8:,}" in lines  # the generator's first layer
    assert f"{8 * (1 + 10) + (1 + 10):,}" in lines  # the critic's last
    assert "iteration" in lines


def test_the_grid_shows_each_label_in_turn_and_looks_follow_the_shares(dataset):
    params = settings()
    shown = labels.in_order(params, dataset, 0, 64, CPU).labels
    assert shown is not None
    assert shown.tolist() == sorted(shown.tolist())
    assert set(np.bincount(shown.numpy())) <= {6, 7}
    shares = labels.shares(params, dataset)
    assert sum(shares) == pytest.approx(1.0)
    counts = np.bincount(dataset.train.labels) / len(dataset.train)
    assert shares == pytest.approx(counts)
    assert labels.shares(settings(conditional=False), dataset) == ()


def test_digits_are_drawn_as_they_are_asked_for(dataset, tmp_path):
    """An independent classifier agrees with the labels, and an unconditional one's it would not."""
    from sklearn.svm import SVC

    params = TrainParams.model_validate({
        "conditional": True, "steps": 300, "latent_dim": 16, "threads": 1, "log_every": 300,
        "grid_every": 300, "quality_every": 300, "checkpoint_every": 300,
        "wgan-gp": {"learning_rate": 2e-3}, "mlp": {"depth": 2, "width": 64},
    })  # fmt: skip
    train(params, dataset, tmp_path)
    found = trained.generator(Training(params, dataset, tmp_path), ExportParams())
    wanted = torch.arange(500) % 10
    with torch.no_grad():
        latents = torch.randn(500, 16, generator=torch.Generator().manual_seed(0))
        images = found.network(latents, wanted).flatten(1).numpy()
    real = dataset.train.take(np.arange(len(dataset.train))).reshape(-1, 64) / 127.5 - 1.0
    judge = SVC(gamma="scale", C=10).fit(real, dataset.train.labels)
    agreement = float((judge.predict(images) == wanted.numpy()).mean())
    assert agreement > 0.5  # about four in five, and one in ten without labels


def test_the_exported_network_is_of_the_same_classes(dataset, tmp_path):
    params = settings()
    train(params, dataset, tmp_path)
    found = trained.generator(Training(params, dataset, tmp_path), ExportParams())
    fresh = nets.build("generator", params, dataset.image_shape, 10)
    assert {n: p.shape for n, p in found.network.named_parameters()} == {
        n: p.shape for n, p in fresh.named_parameters()
    }

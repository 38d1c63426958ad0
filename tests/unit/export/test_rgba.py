"""Protects: a generator of four channels goes to a file, to pictures and to what judges it."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from monge import nets
from monge.contract import Contract
from monge.data.packed import PackedDataset
from monge.data.writer import PackedWriter
from monge.evaluation.evidence import Evidence
from monge.export.parity import write_checked
from monge.metrics.pretrained import coloured
from monge.metrics.pyramid import as_seen
from monge.objectives.augment import DRAWS, transformed
from monge.params import EvaluateParams, TrainParams
from monge.server.routes.bodies import Samples
from monge.server.routes.v1 import encode
from monge.serving import pictures
from monge.serving.sampler import Sampler


@pytest.mark.parametrize("net", ["mlp", "dcgan", "resnet"])
def test_its_file_draws_four_channels_and_pictures_keep_the_opacity(net, tmp_path):
    train = TrainParams.model_validate(
        {
            "net": net, "latent_dim": 4, "mlp": {"depth": 1, "width": 8},
            "dcgan": {"features": 2}, "resnet": {"features": 2},
        }
    )  # fmt: skip
    torch.manual_seed(0)
    network = nets.build("generator", train, (4, 16, 16)).eval()
    contract = Contract(latent_dim=4, image_shape=(16, 16, 4))
    write_checked(network, contract, tmp_path / "g.onnx", 1e-4)
    images = Sampler.load(tmp_path / "g.onnx", "cpu").sample(3)
    assert images.shape == (3, 16, 16, 4)
    pictures.write(images, tmp_path / "folder")
    with Image.open(tmp_path / "folder" / "00000.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), images[0])
    for form in ("png", "webp"):
        data, kind = encode(images[:1], Samples(format=form), None)
        assert kind == f"image/{form}"
        with Image.open(io.BytesIO(bytes(data))) as picture:
            np.testing.assert_array_equal(np.asarray(picture), images[0])
    grid, _ = encode(images, Samples(), None)
    with Image.open(io.BytesIO(bytes(grid))) as picture:
        assert picture.mode == "RGB"  # on squares


@pytest.fixture
def dataset(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 4, 8, 8), dtype=np.uint8)
    with PackedWriter(tmp_path / "packed", (4, 8, 8), []) as writer:
        writer.append("train", images[:30], None)
        writer.append("validation", images[30:], None)
        writer.finish()
    return PackedDataset.open(tmp_path / "packed"), images


def test_two_sets_that_look_alike_are_alike_to_the_judge(dataset):
    packed, images = dataset
    images = images.copy()
    images[:, 3] = images[:, 3] // 128 * 255
    hidden = images.copy()
    hidden[:, :3][np.broadcast_to(images[:, 3:] == 0, images[:, :3].shape)] = 77

    def evidence(which):
        return Evidence(
            lambda first, count: which[first : first + count].transpose(0, 2, 3, 1), packed,
            EvaluateParams(images=50, repeats=2), "hash",
        )  # fmt: skip

    ours, theirs = evidence(images).generated(0, 20), evidence(hidden).generated(0, 20)
    np.testing.assert_array_equal(ours, theirs)
    real = evidence(images).dataset.train.take(np.arange(5))
    straight = packed.train.take(np.arange(5))
    share = straight[:, 3:].astype(float) / 255
    np.testing.assert_allclose(real[:, :3], straight[:, :3] * share, atol=0.51)
    floats = torch.from_numpy(straight).float() / 127.5 - 1
    in_training = (as_seen(floats) + 1) * 127.5
    np.testing.assert_allclose(in_training.numpy(), real, atol=0.51)


def test_colours_change_under_augmentation_and_opacity_does_not():
    images = torch.rand(6, 4, 8, 8) * 2 - 1
    draws = torch.rand(6, DRAWS)
    draws[:, -2:] = 1.0  # neither shifted nor cut out
    chance = torch.full((6,), 0.999)
    draws[:, -5:-2] = 0.0
    seen = transformed(images, draws, chance)
    torch.testing.assert_close(seen[:, 3], images[:, 3])
    clear = torch.full((6, 4, 8, 8), -1.0)
    everything = transformed(clear, torch.rand(6, DRAWS) * 0.9, torch.ones(6))
    torch.testing.assert_close(everything, clear)  # nothing comes in, and nothing is coloured
    assert (seen[:, :3] - images[:, :3]).abs().max() > 0.05


def test_the_clear_is_mid_grey_to_a_network_of_three_channels():
    clear = torch.full((1, 4, 2, 2), -1.0)
    assert torch.equal(coloured(clear), torch.zeros(1, 3, 2, 2))
    opaque = torch.cat([torch.rand(1, 3, 2, 2), torch.ones(1, 1, 2, 2)], 1)
    torch.testing.assert_close(coloured(opaque), opaque[:, :3])

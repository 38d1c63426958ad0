"""Protects: generators and encoders of images that are no squares are written as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from monge import nets
from monge.contract import Contract
from monge.encoder_contract import EncoderContract
from monge.export import winograd
from monge.export.encoder import write_encoder
from monge.export.graph import Form
from monge.export.parity import write_checked
from monge.latents import latents
from monge.nets import dcgan
from monge.params import TrainParams
from monge.serving.encoder import Encoder
from monge.serving.sampler import Sampler

NETS = ("dcgan", "dcgan-plain", "mlp", "resnet")
SHAPES = ((3, 24, 16), (1, 12, 20), (3, 32, 48))  # smallest maps of 6x4, 6x10 and 4x6
Shape = tuple[int, int, int]


def made(role: str, net: str, shape: Shape, classes: int = 0, **more: Any) -> nn.Module:
    """A small network as after some training: large values, lively norms."""
    small = {"mlp": {"depth": 2, "width": 24}, "dcgan": {"features": 3}, "resnet": {"features": 6}}
    train = TrainParams.model_validate({"net": net, "latent_dim": 6, **small, **more})
    torch.manual_seed(shape[1])
    network = nets.build(role, train, shape, classes)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            least = 0.5 if net == "resnet" else 0.005
            nn.init.uniform_(layer.running_var, least, 4 * least)
            nn.init.normal_(layer.running_mean, 0.0, 0.05)
        elif net == "dcgan-plain":
            for weight in layer.parameters(recurse=False):
                nn.init.normal_(weight, 0.0, 0.2)
    return network.eval()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("net", NETS)
def test_every_net_draws_scores_and_encodes_height_before_width(net: str, shape: Shape) -> None:
    images = made("generator", net, shape)(torch.randn(3, 6))
    assert images.shape == (3, *shape)
    assert made("critic", net, shape)(images).shape == (3,)
    encoder = made("encoder", net, shape, objective="wae-mmd")
    assert encoder(images).shape == (3, 6)
    if net != "mlp":  # which knows of no shape
        turned = images.transpose(2, 3)
        with pytest.raises(RuntimeError):
            made("critic", "dcgan", shape)(turned)


def test_the_smallest_map_is_the_kernel_between_it_and_a_vector() -> None:
    generator, critic = dcgan.Generator(6, (3, 32, 48), 2), dcgan.Critic((3, 32, 48), 2)
    assert generator.net[:2](torch.randn(1, 6)).shape == (1, 16, 4, 6)
    assert critic.net[:-2](torch.randn(1, 3, 32, 48)).shape == (1, 8, 4, 6)
    with_kernels = dcgan.Critic((3, 32, 48), 2, "none", kernels=5)
    assert with_kernels(torch.randn(4, 3, 32, 48)).shape == (4,)


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("form", ["latency", "throughput"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("net", NETS)
def test_the_file_is_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, net: str, shape: Shape, form: Any, classes: int
) -> None:
    monkeypatch.setattr(winograd, "_WORTH", 0.0)  # so that narrow layers take its form as well
    channels, height, width = shape
    generator = made("generator", net, shape, classes)
    contract = Contract(
        latent_dim=6, image_shape=(height, width, channels),
        classes=("a", "b", "c")[:classes], label_shares=(0.5, 0.25, 0.25)[:classes],
    )  # fmt: skip
    path = tmp_path / "generator.onnx"
    write_checked(generator, contract, path, 1e-4, Form(optimize_for=form))
    if form == "throughput" and net == "dcgan":
        assert "MatMul" in {node.op_type for node in onnx.load(path).graph.node}
    x = latents(5, 0, 7, 6)
    labels = np.arange(7) % 3 if classes else None
    given = [torch.from_numpy(x), *([] if labels is None else [torch.from_numpy(labels)])]
    with torch.no_grad():
        wanted = generator(*given).permute(0, 2, 3, 1).double().numpy()
    drawn = Sampler.load(path, "cpu").run(x, labels)
    assert drawn.shape == (7, height, width, channels)
    assert np.abs(drawn - (wanted + 1) * 127.5).max() < 0.6
    assert drawn.std() > 3


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("net", NETS)
def test_the_encoders_file_is_the_encoder(tmp_path: Path, net: str, shape: Shape) -> None:
    channels, height, width = shape
    encoder = made("encoder", net, shape, objective="wae-mmd")
    contract = EncoderContract(
        latent_dim=6, image_shape=(height, width, channels), generator="ab" * 32
    )
    write_encoder(encoder, contract, tmp_path / "encoder.onnx", 1e-4)
    images = np.random.default_rng(1).integers(0, 256, (5, height, width, channels), dtype=np.uint8)
    values = torch.from_numpy(images.transpose(0, 3, 1, 2) / 127.5 - 1.0).float()
    with torch.no_grad():
        wanted = encoder(values).numpy()
    found = Encoder.load(tmp_path / "encoder.onnx").encode(images)
    np.testing.assert_allclose(found, wanted, atol=2e-4)

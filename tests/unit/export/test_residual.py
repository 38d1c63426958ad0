"""Protects: a residual generator's file is its network, by whatever way its layers are written."""

from collections import Counter

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from monge.contract import Contract
from monge.encoder_contract import EncoderContract
from monge.export.encoder import write_encoder
from monge.export.graph import Form
from monge.export.lower import layers_of
from monge.export.onnx import serialise
from monge.export.parity import write_checked
from monge.export.residual import averaged, upsampled, without_lone_norms
from monge.nets import resnet
from monge.nets.residual import UpBlock
from monge.serving.sampler import Sampler


def trained(network):
    """Running statistics and factors as a training leaves them, some of them negative."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, tensor in (*network.named_parameters(), *network.named_buffers()):
            if name.endswith("running_var"):
                tensor.uniform_(0.3, 3.0)
            elif tensor.is_floating_point():
                tensor.add_(0.1 * torch.randn(tensor.shape))
    return network.eval()


def generator(size=32, channels=3, order="first", classes=0, features=8):
    torch.manual_seed(1)
    return trained(resnet.Generator(6, (channels, size, size), features, order, classes))


def contract(size=32, channels=3, classes=0):
    return Contract(
        latent_dim=6, image_shape=(size, size, channels), classes=tuple("abcd"[:classes]),
        label_shares=(1 / classes,) * classes if classes else (),
    )  # fmt: skip


@pytest.mark.parametrize("optimize_for", ["latency", "throughput"])
@pytest.mark.parametrize("order", ["first", "second"])
@pytest.mark.parametrize("classes", [0, 4])
@pytest.mark.parametrize(("size", "channels"), [(8, 1), (32, 3), (64, 3)])
def test_the_file_is_the_network(size, channels, classes, order, optimize_for, tmp_path):
    place = tmp_path / "generator.onnx"
    network = generator(size, channels, order, classes)
    form = Form("float32", optimize_for)
    parity = write_checked(network, contract(size, channels, classes), place, 1e-4, form)
    assert parity.max_difference < 5e-5
    images = Sampler.load(place, "cpu").sample(3, seed=1)
    assert images.shape == (3, size, size, channels)
    assert images.std() > 3


@pytest.mark.parametrize("variant", ["float16", "int8"])
@pytest.mark.parametrize("classes", [0, 4])
def test_smaller_variants_come_near_it(variant, classes, tmp_path):
    place = tmp_path / "generator.onnx"
    write_checked(generator(classes=classes), contract(classes=classes), place, 1e-4, Form(variant))


def test_an_upsampling_and_a_convolution_are_one_transposed_convolution():
    layer, maps = nn.Conv2d(3, 5, 3, padding=1).double(), torch.randn(2, 3, 5, 7).double()
    wanted = layer(F.interpolate(maps, scale_factor=2, mode="nearest"))
    torch.testing.assert_close(upsampled(layer)(maps), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_convolution_and_a_mean_are_one_convolution(kernel):
    layer = nn.Conv2d(3, 5, kernel, padding=kernel // 2).double()
    maps = torch.randn(2, 3, 6, 8).double()
    torch.testing.assert_close(
        averaged(layer)(maps), F.avg_pool2d(layer(maps), 2), rtol=0, atol=1e-12
    )


def test_norms_before_an_activation_are_gone_where_their_factors_are_positive():
    network = generator()
    operators = Counter(
        node.op_type for node in onnx.load_from_string(serialise(network, contract())).graph.node
    )
    assert operators["Mul"] == 0
    assert operators["Add"] == 3  # the sums of the three blocks
    for block in network.net:
        if isinstance(block, UpBlock):
            with torch.no_grad():
                dict(block.named_parameters())["norm1.weight"][0] = -1.0
    operators = Counter(
        node.op_type for node in onnx.load_from_string(serialise(network, contract())).graph.node
    )
    assert operators["Mul"] == 3


def test_taking_norms_in_leaves_the_network_as_it_was_and_the_function_too():
    network = generator(size=16)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    latents = torch.randn(4, 6)
    with torch.no_grad():
        wanted = network(latents)
        rewritten = nn.Sequential(*without_lone_norms(layers_of(network)))
        torch.testing.assert_close(rewritten(latents.double()).float(), wanted, rtol=0, atol=1e-5)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("size", [8, 32, 64])
def test_an_encoder_of_residual_blocks_is_written(size, tmp_path):
    encoder = trained(resnet.Encoder((3, size, size), 4, 5))
    made = EncoderContract(latent_dim=5, image_shape=(size, size, 3), generator="ab" * 32)
    with torch.no_grad():
        latents = encoder(torch.rand(8, 3, size, size) * 2 - 1)
    tolerance = 1e-4 * max(1.0, float(latents.abs().max()))
    assert write_encoder(encoder, made, tmp_path / "e.onnx", tolerance) < tolerance


def test_the_same_weights_give_the_same_bytes():
    data = [serialise(generator(order="second"), contract()) for _ in range(2)]
    assert data[0] == data[1]
    assert np.frombuffer(data[0], np.uint8).size > 1000

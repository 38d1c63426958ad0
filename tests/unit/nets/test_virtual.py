"""Protects: virtual batch norm is the definition's, and nothing is left of it once trained."""

import copy
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from monge import nets
from monge.contract import Contract
from monge.errors import ParamsError
from monge.export.onnx import write_generator
from monge.export.parity import check
from monge.nets.virtual import REFERENCE, VirtualBatchNorm
from monge.params import TrainParams, load

SHAPE = (1, 8, 8)
NETS = pytest.mark.parametrize("net", ["mlp", "dcgan"])
CLASSES = pytest.mark.parametrize("classes", [0, 3])


def built(net, classes, role="generator", **more):
    """A network with virtual norms whose scales and offsets are far from where they begin."""
    torch.manual_seed(4)
    section = {
        "mlp": {"depth": 2, "width": 12, "generator_norm": "virtual"},
        "dcgan": {"features": 2, "generator_norm": "virtual"},
    }[net]
    train = {"net": net, "latent_dim": 5, net: {**section, **more}}
    network = nets.build(role, TrainParams.model_validate(train), SHAPE, classes)
    for layer in network.modules():
        if isinstance(layer, VirtualBatchNorm):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0.0, 0.5)
    return network


def inputs(n, classes):
    latents = torch.randn(n, 5, generator=torch.Generator().manual_seed(7))
    return (latents, torch.arange(n) % classes) if classes else (latents,)


def by_definition(generator, rows):
    """The images of rows float64 [n, z + classes], and on the way the reference's, each by itself.

    No row is ever in a batch with another: the statistics are taken in numpy.
    """
    reference = [row[None] for row in generator.reference.double()]
    wanted = [row[None] for row in rows.double()]
    for layer in copy.deepcopy(generator.net).double():
        if isinstance(layer, VirtualBatchNorm):
            seen = np.concatenate([row.detach().numpy() for row in reference])
            over = (0, 2, 3) if seen.ndim == 4 else 0
            mean, deviation = seen.mean(over), np.sqrt(seen.var(over) + 1e-5)
            shape = (1, -1, 1, 1)[: seen.ndim]
            scale = torch.from_numpy(1 / deviation).view(shape) * layer.weight.view(shape)
            mean, offset = torch.from_numpy(mean).view(shape), layer.bias.view(shape)
            reference = [(row - mean) * scale + offset for row in reference]
            wanted = [(row - mean) * scale + offset for row in wanted]
        else:
            reference, wanted = [layer(r) for r in reference], [layer(r) for r in wanted]
    return torch.cat(wanted)


def rows_of(given, classes):
    if not classes:
        return given[0]
    return torch.cat([given[0], nn.functional.one_hot(given[1], classes).to(given[0])], 1)


@NETS
@CLASSES
def test_images_are_those_of_the_definition_whatever_they_are_made_with(net, classes):
    generator, given = built(net, classes), inputs(6, classes)
    images = generator(*given)
    wanted = by_definition(generator, rows_of(given, classes))
    torch.testing.assert_close(images.double(), wanted, rtol=0, atol=2e-6)
    alone = generator(*(tensor[:1] for tensor in given))
    torch.testing.assert_close(alone, images[:1], rtol=0, atol=2e-6)


@NETS
def test_gradients_go_through_the_statistics(net):
    """By differences of the definition: along a direction in all weights at once."""
    generator, given = built(net, 0).double(), (inputs(4, 0)[0].double(),)
    generator(*given).square().sum().backward()
    slope, ahead, behind = 0.0, copy.deepcopy(generator), copy.deepcopy(generator)
    h = 1e-6
    with torch.no_grad():
        for weight, plus, minus in zip(
            generator.parameters(), ahead.parameters(), behind.parameters(), strict=True
        ):
            way = torch.randn_like(weight)
            slope += float((weight.grad * way).sum())
            plus += h * way
            minus -= h * way
        up, down = (float(by_definition(g, *given).square().sum()) for g in (ahead, behind))
    assert slope == pytest.approx((up - down) / (2 * h), rel=1e-4)


@NETS
@CLASSES
def test_a_trained_one_is_exported_as_if_it_had_no_norm(net, classes, tmp_path):
    generator = built(net, classes)
    given, fixed = inputs(6, classes), copy.deepcopy(generator)
    nets.at_rest(fixed)
    fixed.eval()
    torch.testing.assert_close(fixed(*given), generator(*given), rtol=0, atol=2e-6)
    assert not any(isinstance(layer, VirtualBatchNorm) for layer in fixed.modules())
    names = tuple(f"c{i}" for i in range(classes))
    shares = tuple(1 / classes for _ in names)
    contract = Contract(latent_dim=5, image_shape=(8, 8, 1), classes=names, label_shares=shares)
    path = tmp_path / "generator.onnx"
    write_generator(fixed, contract, path)
    assert check(fixed, path, contract, 1e-5).max_difference < 1e-5
    operators = {node.op_type for node in onnx.load(path).graph.node}
    assert not operators & {"BatchNormalization", "Sqrt", "ReduceMean"}


def test_the_reference_is_of_the_seed_and_has_every_label():
    first, again = built("mlp", 3), built("mlp", 3)
    assert torch.equal(first.reference, again.reference)
    assert first.reference.shape == (REFERENCE, 5 + 3)
    assert "reference" in first.state_dict()
    assert first.reference[:, 5:].sum(0).min() >= REFERENCE // 3


@pytest.mark.parametrize("net", ["mlp", "dcgan"])
def test_nothing_is_another_without_it(net):
    norm = {"mlp": "none", "dcgan": "batch"}[net]
    plain = built(net, 0, generator_norm=norm)
    assert plain.reference is None
    before = copy.deepcopy(plain)
    nets.at_rest(plain)
    assert plain.state_dict().keys() == before.state_dict().keys()


@NETS
def test_he_keeps_the_scale_up_to_the_score_of_a_critic_without_a_norm(net):
    deep: dict[str, Any] = {"depth": 6, "width": 256}
    more = deep if net == "mlp" else {"features": 32, "critic_norm": "none"}
    images = torch.randn(32, *SHAPE)
    sizes = {}
    for how in ("small", "he"):
        critic = built(net, 0, "critic", critic_initialisation=how, **more)
        sizes[how] = float(critic.features(images).detach().square().mean())
    assert 0.5 < sizes["he"] < 2.0
    assert sizes["small"] < 0.05


def test_the_generator_without_norms_is_not_given_one(tmp_path):
    (tmp_path / "params.yaml").write_text("{}\n")
    changes = ["train.dcgan.generator_norm=virtual"]
    with pytest.raises(ParamsError, match="is the generator without norms"):
        load(tmp_path / "params.yaml", ["train.net=dcgan-plain", *changes])
    load(tmp_path / "params.yaml", ["train.net=dcgan", *changes])

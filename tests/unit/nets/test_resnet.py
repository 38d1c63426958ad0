"""Protects: the residual networks are the paper's, at every size, with every option."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from monge import nets
from monge.nets import resnet
from monge.nets.residual import ConditionalBatchNorm2d, UpBlock
from monge.params import TrainParams

TIMES = [(8, 1), (16, 2), (32, 3), (64, 4), (128, 5), (256, 6)]


def generator_block(state, maps, order, labels, *, training):
    """A block of the generator in float64, written out by index and not by layer."""

    def norm(x, name):
        if labels is None:
            scale = state[name + ".weight"].expand(len(x), -1)
            offset = state[name + ".bias"].expand(len(x), -1)
            kept = name
        else:
            scale, offset = state[name + ".scale"][labels], state[name + ".offset"][labels]
            kept = name + ".norm"
        mean, variance = state[kept + ".running_mean"], state[kept + ".running_var"]
        if training:
            mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        x = (x - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
        return x * scale[:, :, None, None] + offset[:, :, None, None]

    def up(x):
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    x = norm(maps, "norm1").clamp(min=0)
    x = F.conv2d(up(x) if order == "first" else x, state["conv1.weight"], padding=1)
    x = norm(x, "norm2").clamp(min=0)
    x = x if order == "first" else up(x)
    x = F.conv2d(x, state["conv2.weight"], state["conv2.bias"], padding=1)
    return x + F.conv2d(up(maps), state["shortcut.weight"], state["shortcut.bias"])


def unlike_at_first(network):
    """Numbers in the place of the zeros and ones of a new network."""
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.dtype.is_floating_point and tensor.min() == tensor.max():
                tensor.add_(torch.rand_like(tensor) * 0.5)
    return network.double()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("order", ["first", "second"])
def test_an_up_block_is_the_papers_in_either_order(order, classes, training):
    torch.manual_seed(0)
    block = unlike_at_first(UpBlock(4, 6, order, classes)).train(training)
    maps = torch.randn(5, 4, 3, 2, dtype=torch.float64)
    labels = torch.tensor([0, 2, 1, 1, 0]) if classes else None
    state = {name: tensor.clone() for name, tensor in block.state_dict().items()}
    expected = generator_block(state, maps, order, labels, training=training)
    torch.testing.assert_close(block(maps, labels), expected, rtol=0, atol=1e-12)


def critic_block(state, maps, norm, *, halve, activate=True):
    def normed(x, name):
        if norm == "none":
            return x
        mean = x.flatten(1).mean(1)[:, None, None, None]
        variance = x.flatten(1).var(1, unbiased=False)[:, None, None, None]
        x = (x - mean) / (variance + 1e-5).sqrt()
        return x * state[name + ".weight"][:, None, None] + state[name + ".bias"][:, None, None]

    def pooled(x):
        return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4

    x = normed(maps, "norm1").clamp(min=0) if activate else maps
    x = F.conv2d(x, state["conv1.weight"], state.get("conv1.bias"), padding=1)
    x = normed(x, "norm2").clamp(min=0)
    x = F.conv2d(x, state["conv2.weight"], state["conv2.bias"], padding=1)
    if "shortcut.weight" in state:
        maps = F.conv2d(maps, state["shortcut.weight"], state["shortcut.bias"])
    return pooled(x) + pooled(maps) if halve else x + maps


def part(network, index):
    start = f"net.{index}."
    state = network.state_dict()
    return {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}


def test_the_critic_at_32_pixels_is_that_of_the_papers_cifar_10():
    torch.manual_seed(1)
    critic = unlike_at_first(resnet.Critic((3, 32, 32), 6))
    images = torch.rand(4, 3, 32, 32, dtype=torch.float64) * 2 - 1
    x = critic_block(part(critic, 0), images, "none", halve=True, activate=False)
    for index, halve in ((1, True), (2, False), (3, False)):
        x = critic_block(part(critic, index), x, "none", halve=halve)
    assert x.shape == (4, 6, 8, 8)
    last = part(critic, len(critic.net) - 1)
    expected = (x.clamp(min=0).mean((2, 3)) @ last["weight"].T + last["bias"])[:, 0]
    torch.testing.assert_close(critic(images), expected, rtol=0, atol=1e-12)


def test_the_critic_at_64_pixels_is_that_of_the_papers_64x64_one():
    torch.manual_seed(2)
    critic = unlike_at_first(resnet.Critic((3, 64, 64), 2))
    images = torch.rand(2, 3, 64, 64, dtype=torch.float64) * 2 - 1
    first = part(critic, 0)
    x = F.conv2d(images, first["weight"], first["bias"], padding=1)
    for index in (1, 2, 3, 4):
        x = critic_block(part(critic, index), x, "layer", halve=True)
    assert x.shape == (2, 16, 4, 4)
    last = part(critic, len(critic.net) - 1)
    expected = (x.flatten(1) @ last["weight"].T + last["bias"])[:, 0]
    torch.testing.assert_close(critic(images), expected, rtol=0, atol=1e-12)


def of_blocks(pairs, norms):
    """The weights of blocks from `a` to `b` channels, two norms of `norms` numbers a channel."""
    return sum(9 * a * b + 9 * b * b + b + a * b + b + norms * (a + b) for a, b in pairs)


def test_the_generators_have_as_many_weights_as_the_papers():
    d = 128  # of the CIFAR-10 network
    expected = 129 * 16 * d + of_blocks([(d, d)] * 3, 2) + 2 * d + 27 * d + 3
    count = sum(p.numel() for p in resnet.Generator(128, (3, 32, 32), d).parameters())
    assert count == expected
    d = 64  # of the 64x64 network
    widths = [(8 * d, 8 * d), (8 * d, 4 * d), (4 * d, 2 * d), (2 * d, d)]
    expected = 129 * 128 * d + of_blocks(widths, 2) + 2 * d + 27 * d + 3
    assert sum(p.numel() for p in resnet.Generator(128, (3, 64, 64), d).parameters()) == expected


@pytest.mark.parametrize(("size", "times"), TIMES)
def test_it_draws_and_scores_every_size(size, times):
    generator, critic = resnet.Generator(5, (2, size, size), 1), resnet.Critic((2, size, size), 1)
    images = generator(torch.randn(2, 5))
    assert images.shape == (2, 2, size, size)
    assert images.abs().max() <= 1.0
    assert critic(images).shape == (2,)
    assert sum(isinstance(layer, UpBlock) for layer in generator.net) == times


@pytest.mark.parametrize("shape", [(3, 32, 48), (1, 64, 80), (4, 24, 40)])
def test_it_draws_and_scores_what_is_not_square(shape):
    images = resnet.Generator(5, shape, 2)(torch.randn(3, 5))
    assert images.shape == (3, *shape)
    assert resnet.Critic(shape, 2)(images).shape == (3,)


@pytest.mark.parametrize("shape", [(3, 4, 4), (3, 512, 512), (3, 34, 34), (1, 16, 30)])
def test_a_size_that_it_cannot_draw_is_refused(shape):
    with pytest.raises(ValueError, match="resnet draws no"):
        resnet.Generator(8, shape, 2)


def test_the_first_weights_are_the_authors():
    torch.manual_seed(3)
    block = UpBlock(64, 128)
    wanted = {"conv1": 4 / (9 * 192), "conv2": 4 / (9 * 256), "shortcut": 2 / 192}
    for name, variance in wanted.items():
        weight = getattr(block, name).weight
        assert float(weight.detach().var()) == pytest.approx(variance, rel=0.05), name
        assert float(weight.detach().abs().max()) <= math.sqrt(3 * variance) + 1e-6, name


def test_a_critics_norm_is_the_papers_or_the_one_asked_for():
    def norms(size, norm):
        layers = resnet.Critic((3, size, size), 2, norm).modules()
        return sum(isinstance(layer, torch.nn.GroupNorm) for layer in layers)

    found = [norms(*case) for case in ((32, "auto"), (64, "auto"), (64, "none"), (32, "layer"))]
    assert found == [0, 8, 0, 7]
    assert norms(64, "spectral") == 0


def critic_with(head, norm="auto") -> Any:
    how = {"features": 3, "head": head, "critic_norm": norm}
    train = TrainParams.model_validate({"net": "resnet", "resnet": how})
    torch.manual_seed(4)
    return nets.build("critic", train, (1, 16, 16), 5)


@pytest.mark.parametrize("norm", ["none", "layer", "spectral"])
def test_both_heads_score_and_one_classifies(norm):
    images, labels = torch.rand(6, 1, 16, 16), torch.tensor([0, 4, 2, 2, 1, 3])
    projecting, classifying = critic_with("projection", norm), critic_with("classifier", norm)
    last = classifying.net[-1]
    outputs = classifying.features(images) @ last.weight.T + last.bias
    torch.testing.assert_close(classifying(images, labels), outputs[:, 0])
    torch.testing.assert_close(classifying.class_logits(images), outputs[:, 1:])
    own = outputs[:, 1:].gather(1, labels[:, None])[:, 0]  # the same weights, as a projection
    torch.testing.assert_close(projecting(images, labels), outputs[:, 0] + own)


def test_a_class_has_its_own_scale_and_the_batch_one_mean():
    norm: Any = ConditionalBatchNorm2d(3, 2)
    maps, labels = torch.randn(6, 3, 4, 4) * 3 + 1, torch.tensor([0, 0, 1, 1, 1, 0])
    torch.testing.assert_close(norm(maps, labels), F.batch_norm(maps, None, None, training=True))
    norm(maps, labels)[labels == 1].square().sum().backward()
    assert norm.scale.grad[0].abs().max() == 0.0 < norm.scale.grad[1].abs().min()
    with pytest.raises(ValueError, match="with 2 labels was given none"):
        norm(maps, None)


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_gradients_of_the_penalty_are_those_of_finite_differences(norm):
    torch.manual_seed(5)
    critic = resnet.Critic((1, 8, 8), 4, norm).double()
    images = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    first: Any = critic.net[0]
    weight = first.conv2.weight

    def penalty():
        x = images.clone().requires_grad_()
        (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
        return (slope.flatten(1).norm(dim=1) - 1).square().mean()

    penalty().backward()
    step = 1e-6
    with torch.no_grad():
        weight[0, 0, 1, 1] += step
    above = float(penalty().detach())
    with torch.no_grad():
        weight[0, 0, 1, 1] -= 2 * step
    slope = (above - float(penalty().detach())) / (2 * step)
    assert float(weight.grad[0, 0, 1, 1]) == pytest.approx(slope, rel=1e-4)
    assert abs(slope) > 1e-6

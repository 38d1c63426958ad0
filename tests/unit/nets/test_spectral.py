"""Protects: spectral norm is that of Miyato et al. 2018, and costs no second backward pass.

What a training does with it, step by step, is compared beside the objectives.
"""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from monge import nets
from monge.nets import spectral
from monge.objectives import Noise
from monge.params import TrainParams
from tests.unit.nets.spectral_by_hand import normed_layers, power_step
from tests.unit.objectives.small import CPU, NORMED, SPECTRAL, make, real_batches

pytestmark = pytest.mark.usefixtures("_float64")


def largest(weight):
    """The largest singular value of a weight, a kernel as the matrix [outputs, inputs k k]."""
    return torch.linalg.svdvals(weight.detach().reshape(len(weight), -1))[0].item()


@pytest.mark.parametrize("net", ["mlp", "dcgan", "resnet"])
def test_every_weight_comes_to_a_largest_singular_value_of_one(net):
    torch.manual_seed(0)
    sections = {**SPECTRAL, "resnet": {"features": 3, "critic_norm": "spectral"}}
    critic: Any = nets.build(
        "critic", TrainParams.model_validate({"net": net, **sections}), (3, 16, 16)
    )
    layers = normed_layers(critic)
    assert len(layers) == sum(isinstance(m, nn.Conv2d | nn.Linear) for m in critic.modules()) > 2
    with torch.no_grad():
        for layer in layers:  # as an optimizer does, which the vectors then have to follow
            raw = layer.parametrizations.weight.original
            raw.mul_(3.0).add_(torch.randn_like(raw), alpha=0.2)
    for _ in range(300):
        critic.follow()
    for layer in layers:
        assert largest(layer.weight) == pytest.approx(1.0, abs=1e-6)
        raw = layer.parametrizations.weight.original
        torch.testing.assert_close(layer.weight * largest(raw), raw, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(5, 7), (4, 3, 4, 4)])
def test_a_raw_weights_gradient_is_that_of_the_weight_by_its_largest_singular_value(shape):
    torch.manual_seed(1)
    raw, wanted = torch.randn(shape, requires_grad=True), torch.randn(shape)
    norm = spectral.Spectral(raw.detach())
    for _ in range(500):
        norm.follow(raw)
    ((norm(raw) - wanted) ** 2).sum().backward()
    assert raw.grad is not None
    for _ in range(3):
        direction = torch.randn(shape)
        above, below = (
            ((at / largest(at) - wanted) ** 2).sum().item()
            for at in (raw.detach() + size * direction for size in (1e-6, -1e-6))
        )
        found = (raw.grad * direction).sum().item()
        assert found == pytest.approx((above - below) / 2e-6, rel=1e-6)
    held_fixed = raw.detach() / largest(raw)  # without the value's own gradient it is another one
    assert not torch.allclose(raw.grad, 2 * (held_fixed - wanted) / largest(raw), rtol=1e-2)


class Witness(nn.Module):
    """A critic that keeps its weight at each call, and whether a backward pass made a graph."""

    def __init__(self, critic):
        super().__init__()
        self.critic, self.weights = critic, []
        self.graphs: list[bool] = []
        self.follow = critic.follow

    def forward(self, *inputs):
        self.weights.append(normed_layers(self.critic)[0].weight.detach().clone())
        return _Noted.apply(self.critic(*inputs), self.graphs)


class _Noted(torch.autograd.Function):
    @staticmethod
    def forward(ctx, scores, graphs):
        ctx.graphs = graphs
        return scores.clone()

    @staticmethod
    def backward(ctx, gradient):
        ctx.graphs.append(torch.is_grad_enabled())
        return gradient, None


def played(name, batches, **changes):
    """An iteration with a witness in the critic's place."""
    _, networks, objective = make(name, "dcgan", shape=NORMED, **SPECTRAL, **changes)
    networks[objective.opponent] = witness = Witness(networks[objective.opponent])
    optimizers = objective.optimizers(networks)
    reals = real_batches(shape=NORMED)
    objective.iterate(networks, optimizers, reals, Noise(3, 4, CPU), batches)
    return witness


def test_each_step_takes_one_backward_pass_and_no_derivative_of_a_derivative():
    for name, changes in (("gan", {"gan": {"loss": "hinge"}}), ("wgan", {"wgan": {"clip": 0.0}})):
        assert played(name, 3, **changes).graphs == [False] * 4
    assert any(played("wgan-gp", 3).graphs), "the penalty would have been seen"


def test_a_batch_in_parts_is_scored_by_one_network():
    first, *rest = played("gan", 2, accumulate=3, gan={"loss": "hinge"}).weights
    changed = [not torch.equal(*pair) for pair in zip([first, *rest], rest, strict=False)]
    assert changed == [False, False, True, False, False, True, False, False]


def test_the_vectors_take_a_power_step_for_each_step_of_the_optimizer():
    hinge = {"gan": {"loss": "hinge"}, "accumulate": 3}
    _, networks, objective = make("gan", "dcgan", shape=NORMED, **SPECTRAL, **hinge)
    optimizers = objective.optimizers(networks)
    optimizers["discriminator"].param_groups[0]["lr"] = 0.0
    expected = copy.deepcopy(networks["discriminator"])
    reals = real_batches(shape=NORMED)
    objective.iterate(networks, optimizers, reals, Noise(3, 4, CPU), 2)
    layers = normed_layers(networks["discriminator"]), normed_layers(expected)
    for ours, theirs in zip(*layers, strict=True):
        kept, held = ours.parametrizations.weight[0], theirs.parametrizations.weight
        before = held[0].u.clone()
        for _ in range(2):
            power_step(held[0], held.original)
        torch.testing.assert_close(kept.u, held[0].u, rtol=0, atol=1e-12)
        torch.testing.assert_close(kept.v, held[0].v, rtol=0, atol=1e-12)
        assert len(before) == 1 or not torch.allclose(kept.u, before, rtol=0, atol=1e-12)

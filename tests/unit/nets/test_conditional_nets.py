"""Protects: what labels do in the networks is what the papers say they do."""

import copy

import pytest
import torch

from monge import nets
from monge.params import TrainParams

CLASSES, SHAPE = 5, (2, 16, 16)
NETS = ["mlp", "dcgan", "dcgan-plain"]


def build(role, net, classes=CLASSES):
    train = TrainParams.model_validate(
        {"net": net, "latent_dim": 4, "mlp": {"depth": 2, "width": 16}, "dcgan": {"features": 4}}
    )
    torch.manual_seed(1)
    return nets.build(role, train, SHAPE, classes)


@pytest.mark.parametrize("net", NETS)
def test_a_generator_is_the_unconditional_one_on_latents_and_one_hot_labels(net):
    generator = build("generator", net).eval()
    latents, labels = torch.randn(6, 4), torch.tensor([0, 4, 2, 2, 1, 3])
    one_hot = torch.zeros(6, CLASSES)
    for row, label in enumerate(labels.tolist()):
        one_hot[row, label] = 1.0
    expected = generator.net(torch.cat([latents, one_hot], 1))
    assert torch.equal(generator(latents, labels), expected)
    others = generator(latents, (labels + 1) % CLASSES)
    assert (others - expected).abs().amax(dim=(1, 2, 3)).min() > 0.0


@pytest.mark.parametrize("net", NETS)
def test_a_critics_score_is_the_projection_of_its_features_on_the_embedded_label(net):
    """Miyato and Koyama 2018, equation 3: f(x, y) = psi . phi(x) + b + v_y . phi(x)."""
    critic = build("critic", net).eval().requires_grad_(False)
    images, labels = torch.rand(6, *SHAPE) * 2 - 1, torch.tensor([0, 4, 2, 2, 1, 3])
    layers = list(critic.net)
    last = next(i for i in reversed(range(len(layers))) if hasattr(layers[i], "weight"))
    features = torch.nn.Sequential(*layers[:last])(images).flatten(1)
    weight = layers[last].weight.flatten(1)
    assert weight.shape[0] == 1 + CLASSES
    bias = layers[last].bias
    expected = [
        float(weight[0] @ phi + bias[0] + weight[1 + y] @ phi + bias[1 + y])
        for phi, y in zip(features, labels.tolist(), strict=True)
    ]
    assert critic(images, labels).tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("role", ["generator", "critic"])
def test_a_conditional_network_without_labels_is_refused(net, role):
    inputs = torch.randn(2, 4) if role == "generator" else torch.randn(2, *SHAPE)
    with pytest.raises(ValueError, match="with 5 labels was given none"):
        build(role, net)(inputs)


def test_gradients_of_the_penalty_reach_the_embedded_labels():
    critic = copy.deepcopy(build("critic", "dcgan")).double()
    images = torch.rand(3, *SHAPE, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 0, 3])
    (slope,) = torch.autograd.grad(critic(images, labels).sum(), images, create_graph=True)
    slope.flatten(1).norm(dim=1).sub(1).square().mean().backward()
    grown = [layer for layer in critic.net if hasattr(layer, "weight")][-1].weight.grad
    touched = grown.flatten(1).abs().sum(1) > 0
    assert touched.tolist() == [True, True, False, False, True, False]

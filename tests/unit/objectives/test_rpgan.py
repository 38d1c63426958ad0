"""Protects: the paired losses of Huang et al. 2024 and both penalties, against a float64 loop."""

import copy
import itertools
import math

import pytest
import torch
from torch import nn

from monge.objectives import Noise
from monge.objectives.rpgan import _squared_slopes, relativistic_estimate
from tests.unit.objectives.small import CPU, make, real_batches, shape_for


def softplus(x):
    return torch.log(1 + torch.exp(x))


def slope_squared(critic, image, y):
    """Of one image, by itself."""
    image = image[None].detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(image, *y).sum(), image, create_graph=True)
    return gradient.reshape(-1) @ gradient.reshape(-1)


def students_loop(networks, steps, gamma, reals):
    generator, critic = networks["generator"], networks["critic"]
    adams = {
        net: torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.0, 0.99), foreach=False)
        for net in (generator, critic)
    }
    noise = Noise(3, 4, CPU)
    for _ in range(steps):
        real, labels = next(reals)
        y = () if labels is None else (labels,)
        fake = generator(noise.latents(6), *y).detach()
        loss = torch.zeros(())
        for place in range(6):
            own = tuple(label[place : place + 1] for label in y)
            pair = critic(real[place : place + 1], *own) - critic(fake[place : place + 1], *own)
            loss = loss + softplus(-pair.sum()) / 6
            r1 = slope_squared(critic, real[place], own)
            r2 = slope_squared(critic, fake[place], own)
            loss = loss + gamma / 2 * (r1 + r2) / 6
        adams[critic].zero_grad()
        loss.backward()
        adams[critic].step()
        fake = generator(noise.latents(6), *y)
        loss = softplus(-(critic(fake, *y) - critic(real, *y))).mean()
        adams[generator].zero_grad()
        loss.backward()
        adams[generator].step()


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("net", ["mlp", "dcgan"])
@pytest.mark.parametrize("classes", [0, 3])
def test_iterations_move_every_weight_as_a_students_loop_does(net, classes):
    section = {"penalty_weight": 2.0, "penalty_weight_end": 1.0}
    shape = shape_for(net)
    _, networks, objective = make("rpgan", net, classes, shape=shape, rpgan=section)
    textbook = copy.deepcopy(networks)
    optimizers, noise = objective.optimizers(networks), Noise(3, 4, CPU)
    reals, same = real_batches(classes, shape), real_batches(classes, shape)
    noise.progress.fill_(0.5)  # half of a half cosine: the mean of the two weights
    for _ in range(3):
        objective.iterate(networks, optimizers, reals, noise, 1)
    students_loop(textbook, 3, 1.5, same)
    for role, network in networks.items():
        for name, weight in network.state_dict().items():
            torch.testing.assert_close(weight, textbook[role].state_dict()[name], rtol=0, atol=1e-9)


def test_the_weight_of_the_penalty_falls_along_half_a_cosine():
    *_, objective = make("rpgan", rpgan={"penalty_weight": 4.0, "penalty_weight_end": 1.0})
    noise, (real, _) = Noise(3, 4, CPU), next(real_batches())
    weights = []
    for progress in (0.0, 0.25, 0.5, 1.0):
        noise.progress.fill_(progress)
        weights.append(objective.opponent_draws(noise, real)[1][0].item())
    assert weights == pytest.approx([4.0, 2.5 + 1.5 * math.sqrt(0.5), 2.5, 1.0])


def test_the_penalty_of_a_linear_critic_is_its_squared_length_at_each_of_the_pair():
    weight = torch.arange(1.0, 9.0).reshape(2, 2, 2)
    real, fake = torch.randn(5, 2, 2, 2), torch.randn(5, 2, 2, 2)
    for images in (real, fake):
        images.requires_grad_()
    of_real, of_fake = ((images * weight).flatten(1).sum(1) for images in (real, fake))
    squares = _squared_slopes(of_real, of_fake, real, fake)
    torch.testing.assert_close(squares, (2 * weight.square().sum()).expand(5))


def test_the_headline_is_zero_for_a_blind_critic_and_log_2_for_a_sure_one():
    scores = torch.randn(7)
    assert relativistic_estimate(scores, scores).item() == pytest.approx(0.0, abs=1e-6)
    assert relativistic_estimate(scores + 40, scores).item() == pytest.approx(math.log(2.0))
    assert relativistic_estimate(scores - 1, scores) < 0


@pytest.mark.usefixtures("_float64")
def test_the_reading_is_the_headline_of_the_scores():
    _, networks, objective = make("rpgan")
    real, labels = next(real_batches())
    draws = objective.opponent_draws(Noise(3, 4, CPU), real)
    _, readings = objective.opponent_loss(networks, real, labels, *draws)
    scores = [networks["critic"](images) for images in (real, networks["generator"](draws[0]))]
    reading = readings["relativistic_estimate"]
    torch.testing.assert_close(reading, relativistic_estimate(*scores).detach())
    by_definition = sum(
        math.log(2.0) + math.log(1.0 / (1.0 + math.exp(-(real - fake))))
        for real, fake in zip(*(of.tolist() for of in scores), strict=True)
    )
    assert reading.item() == pytest.approx(by_definition / 6, rel=1e-10)
    assert not reading.requires_grad


def test_a_blind_critic_learns_to_tell_and_the_generator_to_deceive():
    """The sign of each: their own steps alone raise, and lower, the headline."""
    _, networks, objective = make("rpgan", rpgan={"learning_rate": 1e-3})
    optimizers, noise = objective.optimizers(networks), Noise(0, 4, CPU)
    reals = itertools.repeat((torch.full((6, 2, 8, 8), 0.5), None))

    def play():
        seen = [objective.iterate(networks, optimizers, reals, noise, 1) for _ in range(30)]
        return [readings["relativistic_estimate"].item() for readings in (seen[0], seen[-1])]

    optimizers["generator"].param_groups[0]["lr"] = 0.0
    first, last = play()
    assert last > first + 0.1
    optimizers["generator"].param_groups[0]["lr"] = 1e-2
    optimizers["critic"].param_groups[0]["lr"] = 0.0
    first, last = play()
    assert last < first - 0.1


def test_a_constant_added_to_the_critic_changes_nothing():
    """Only differences count: so no score drifts into the flat part of the loss for both."""
    _, networks, objective = make("rpgan")
    losses = []
    for offset in (0.0, 100.0):
        with torch.no_grad():
            [*networks["critic"].modules()][-1].bias.add_(offset)
        noise, (real, _) = Noise(0, 4, CPU), next(real_batches())
        draws = objective.opponent_draws(noise, real)
        losses.append(objective.opponent_loss(networks, real, None, *draws)[0].item())
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_the_pairing_pulls_at_a_mode_that_is_left_out():
    """Two points, fakes at one of them only: with equal scores, the generator is pulled away."""

    class Bump(nn.Module):
        def forward(self, images):
            return images.flatten(1).sum(1)

    critic = Bump()
    real = torch.tensor([[-1.0], [1.0]]).reshape(2, 1, 1, 1)
    fake = torch.full((2, 1, 1, 1), -1.0, requires_grad=True)
    (softplus(critic(real) - critic(fake))).mean().backward()
    assert fake.grad is not None
    at_the_mode, left_out = fake.grad.flatten().abs().tolist()
    assert left_out > at_the_mode

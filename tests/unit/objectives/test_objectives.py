"""Protects: the losses, their signs, the constraint, and one iteration against Algorithm 1."""

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import nn

from monge.objectives import Noise
from monge.objectives.augment import transformed
from monge.objectives.slope import gradient_norms, interpolates
from monge.objectives.wasserstein import wasserstein_estimate
from tests.unit.nets.spectral_by_hand import ByHand
from tests.unit.objectives.small import CPU, NORMED, SHAPE, SPECTRAL, make, real_batches, shape_for

CASES: dict[str, dict[str, Any]] = {
    "wgan": {},
    "wgan, spectral": {"wgan": {"clip": 0.0}, **SPECTRAL},
    "wgan, augmented": {"augment": "diffaugment"},
    "wgan-gp": {},
    "wgan-gp, augmented": {"augment": "diffaugment"},
}


def algorithm_1(networks, case, steps, reals, one_sided=False):
    """Both papers' Algorithm 1 as a student writes it: separate passes, weight by weight."""
    generator, critic = networks["generator"], networks["critic"]
    objective, _, option = case.partition(", ")
    if option == "spectral":
        critic = ByHand(critic)
    optimizer_w, optimizer_theta = (
        torch.optim.RMSprop(net.parameters(), lr=5e-5, foreach=False)
        if objective == "wgan"
        else torch.optim.Adam(net.parameters(), lr=1e-4, betas=(0.0, 0.9), foreach=False)
        for net in (critic, generator)
    )
    noise = Noise(3, 4, CPU)

    def shown(x, images):
        """Each kind transformed by draws of its own, in the critic's step and the generator's."""
        if option != "augmented":
            return x, images
        of_x, of_images = noise.uniform(6, 12), noise.uniform(6, 12)
        return transformed(x, of_x, torch.ones(6)), transformed(images, of_images, torch.ones(6))

    for _ in range(steps):
        for _ in range(5):
            x, labels = next(reals)
            y = () if labels is None else (labels,)
            x_tilde = generator(noise.latents(6), *y).detach()
            if objective == "wgan-gp":
                eps = noise.uniform(6).reshape(6, 1, 1, 1)
            x, x_tilde = shown(x, x_tilde)
            critic.follow()
            loss = critic(x_tilde, *y).mean() - critic(x, *y).mean()
            if objective == "wgan-gp":
                x_hat = (eps * x + (1 - eps) * x_tilde).requires_grad_()
                (gradient,) = torch.autograd.grad(critic(x_hat, *y).sum(), x_hat, create_graph=True)
                norms = torch.stack([g.reshape(-1).pow(2).sum().sqrt() for g in gradient])
                too_steep = torch.where(norms > 1, norms - 1, 0) if one_sided else norms - 1
                loss = loss + 10.0 * (too_steep**2).mean()
            optimizer_w.zero_grad()
            loss.backward()
            optimizer_w.step()
            if case in ("wgan", "wgan, augmented"):
                for w in critic.parameters():
                    w.data = w.data.clip(-0.01, 0.01)
        _, x_tilde = shown(x, generator(noise.latents(6), *y))
        loss = -critic(x_tilde, *y).mean()
        optimizer_theta.zero_grad()
        loss.backward()
        optimizer_theta.step()


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize(
    ("case", "net"),
    [
        *itertools.product(CASES, ["mlp", "dcgan"]),
        *itertools.product(["wgan", "wgan-gp"], ["dcgan-plain"]),
    ],
)
@pytest.mark.parametrize("classes", [0, 3])
def test_iterations_move_every_weight_as_algorithm_1_does(case, net, classes):
    name, shape = case.partition(", ")[0], shape_for(net)
    _, networks, objective = make(name, net, classes, shape=shape, **CASES[case])
    textbook = copy.deepcopy(networks)
    optimizers, noise = objective.optimizers(networks), Noise(3, 4, CPU)
    reals, same = real_batches(classes, shape), real_batches(classes, shape)
    for _ in range(3):
        objective.iterate(networks, optimizers, reals, noise, 5)
    algorithm_1(textbook, case, 3, same)
    for role in networks:
        ours, theirs = networks[role].state_dict(), textbook[role].state_dict()
        for key in ours:
            torch.testing.assert_close(ours[key], theirs[key], rtol=0, atol=1e-9)


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("net", ["mlp", "dcgan"])
@pytest.mark.parametrize("classes", [0, 3])
def test_the_one_sided_penalty_leaves_flat_critics_alone(net, classes):
    section, shape = {"wgan-gp": {"penalty": "one-sided"}}, shape_for(net)
    _, networks, objective = make("wgan-gp", net, classes, shape=shape, **section)
    first = next(real_batches(classes, shape))
    norms = gradient_norms(networks["critic"], *first)
    last = [m for m in networks["critic"].modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
    last.weight.data /= norms.median()  # some slopes are above 1, some below
    norms = gradient_norms(networks["critic"], *first)
    assert norms.min() < 1 < norms.max()
    textbook, reals = copy.deepcopy(networks), real_batches(classes, shape)
    objective.iterate(networks, objective.optimizers(networks), reals, Noise(3, 4, CPU), 5)
    algorithm_1(textbook, "wgan-gp", 1, real_batches(classes, shape), one_sided=True)
    for ours, theirs in zip(
        networks["critic"].parameters(), textbook["critic"].parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


def test_a_critic_with_batch_norm_scores_real_and_fake_apart():
    section = {"features": 4, "critic_norm": "batch"}
    _, networks, objective = make("wgan", "dcgan", shape=NORMED, dcgan=section)
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in networks["critic"].modules())
    seen, reals = [], real_batches(shape=NORMED)
    networks["critic"].register_forward_hook(lambda _m, inputs, _out: seen.append(len(inputs[0])))
    objective.iterate(networks, objective.optimizers(networks), reals, Noise(0, 4, CPU), 5)
    assert set(seen) == {6}


def test_the_estimate_is_positive_when_the_critic_scores_real_higher():
    real, fake = torch.tensor([2.0, 4.0]), torch.tensor([-1.0, 0.0])
    assert wasserstein_estimate(real, fake).item() == pytest.approx(3.5)
    assert wasserstein_estimate(fake, real).item() == pytest.approx(-3.5)


def test_a_few_critic_steps_raise_the_estimate_and_generator_steps_lower_it():
    _, networks, objective = make("wgan-gp")
    optimizers, noise = objective.optimizers(networks), Noise(0, 4, CPU)
    real = torch.full((6, *SHAPE), 0.5)
    with torch.no_grad():
        before = (
            networks["critic"](real).mean()
            - networks["critic"](networks["generator"](Noise(9, 4, CPU).latents(6))).mean()
        )
    readings = [
        objective.iterate(networks, optimizers, itertools.repeat((real, None)), noise, 5)
        for _ in range(40)
    ]
    assert readings[-1]["wasserstein_estimate"] > before
    assert readings[-1]["wasserstein_estimate"] > 0
    for g in optimizers["generator"].param_groups:
        g["lr"] = 1e-2
    for g in optimizers["critic"].param_groups:
        g["lr"] = 0.0
    later = [
        objective.iterate(networks, optimizers, itertools.repeat((real, None)), noise, 5)
        for _ in range(20)
    ]
    assert later[-1]["wasserstein_estimate"] < later[0]["wasserstein_estimate"]


def test_clipping_holds_every_weight_in_the_box_and_only_the_critics():
    _, networks, objective = make("wgan")
    objective.iterate(networks, objective.optimizers(networks), real_batches(), Noise(0, 4, CPU), 5)
    assert max(w.abs().max().item() for w in networks["critic"].parameters()) <= 0.01
    assert max(w.abs().max().item() for w in networks["generator"].parameters()) > 0.01


class Linear(nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, images):
        return (images * self.weight).flatten(1).sum(1)


def test_the_gradient_norm_is_taken_per_image_over_all_its_values():
    weight = torch.arange(1.0, 13.0).reshape(3, 2, 2)
    norms = gradient_norms(Linear(weight), torch.randn(5, 3, 2, 2))
    torch.testing.assert_close(norms, weight.norm().expand(5))

    class HalfSquare(nn.Module):
        def forward(self, images):
            return images.square().flatten(1).sum(1) / 2  # its gradient is the image itself

    images = torch.randn(5, 3, 2, 2)
    norms = gradient_norms(HalfSquare(), images)
    torch.testing.assert_close(norms, images.flatten(1).norm(dim=1))
    over_channels = images.norm(dim=1)  # the well-known mistake: a norm a pixel
    assert not torch.allclose(norms.square().mean(), over_channels.square().mean())


def test_the_penalty_of_a_linear_critic_and_its_gradient_have_their_closed_form():
    _, _, objective = make("wgan-gp")
    critic = Linear(torch.randn(3, 2, 2))
    real, fake = torch.randn(4, 3, 2, 2), torch.randn(4, 3, 2, 2)
    penalty, readings = objective.constraint(critic, real, fake, None, torch.rand(4))
    length = critic.weight.detach().norm()
    torch.testing.assert_close(penalty.detach(), 10.0 * (length - 1) ** 2)
    torch.testing.assert_close(readings["gradient_norm"], length)
    penalty.backward()
    torch.testing.assert_close(
        critic.weight.grad, 20.0 * (length - 1) * critic.weight.detach() / length
    )


def test_interpolates_lie_on_each_images_own_segment():
    real, fake = torch.zeros(3, 1, 2, 2), torch.ones(3, 1, 2, 2)
    position = torch.tensor([0.0, 0.25, 1.0])
    mixed = interpolates(real, fake, position)
    torch.testing.assert_close(mixed[:, 0, 0, 0], torch.tensor([1.0, 0.75, 0.0]))
    assert torch.all(mixed == mixed[:, :1, :1, :1])


def test_a_trained_penalised_critic_measures_the_earth_movers_distance():
    """Two clouds a shift of (3, 4) apart: W1 = 5.

    A critic of slope k gains k W and pays lambda (k - 1)^2, so the best slope is 1 + W / (2 lambda)
    and the estimate W (1 + W / (2 lambda)) = 5 * 1.25: the penalty is soft, and this is its bias.
    """
    torch.manual_seed(0)
    _, _, objective = make("wgan-gp")
    critic = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(),
                           nn.Linear(64, 1), nn.Flatten(0))  # fmt: skip
    optimizer = torch.optim.Adam(critic.parameters(), 2e-3, betas=(0.0, 0.9))
    noise = Noise(0, 4, CPU)
    cloud = torch.randn(2048, 2) * 0.5
    shift = torch.tensor([3.0, 4.0])
    estimates = []
    for step in range(500):
        at = torch.arange(step * 128, (step + 1) * 128) % 2048
        real, fake = cloud[at] + shift, cloud[at.flip(0)]
        estimate = wasserstein_estimate(critic(real), critic(fake))
        penalty, _ = objective.constraint(critic, real, fake, None, noise.uniform(128))
        optimizer.zero_grad()
        (penalty - estimate).backward()
        optimizer.step()
        estimates.append(estimate.item())
    assert sum(estimates[-50:]) / 50 == pytest.approx(6.25, rel=0.03)


def test_the_optimizers_are_the_papers():
    _, networks, wgan = make("wgan")
    assert isinstance(wgan.optimizers(networks)["critic"], torch.optim.RMSprop)
    assert wgan.optimizers(networks)["critic"].defaults["momentum"] == 0
    _, networks, gp = make("wgan-gp")
    assert gp.optimizers(networks)["critic"].defaults["betas"] == (0.0, 0.9)

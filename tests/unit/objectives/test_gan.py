"""Protects: the game of Goodfellow et al. 2014 and its options, against a student's float64 loop.

The student writes D as a probability, its losses with logs, and one weight after the other.
"""

import copy
import itertools
import math
from typing import Any

import pytest
import torch

from monge.objectives import Noise
from monge.objectives.gan import (
    BETAS,
    cross_entropy,
    hinge,
    jensen_shannon_estimate,
    total_variation_estimate,
)
from monge.objectives.unrolled import ahead
from tests.unit.objectives.small import CPU, make, real_batches

OPTIONS = {
    "as it is": {},
    "minimax": {"loss": "minimax"},
    "hinge": {"loss": "hinge"},
    "smoothed": {"label_smoothing": 0.1},
    "noised": {"instance_noise": 0.5},
    "matched": {"feature_matching": True},
    "averaged": {"historical_averaging": 0.3},
    "all at once": {
        "label_smoothing": 0.1, "instance_noise": 0.5, "feature_matching": True,
        "historical_averaging": 0.3, "discriminator_steps": 2,
    },
}  # fmt: skip


class Student:
    """One iteration after the other, by the definitions."""

    def __init__(self, networks, options, progress):
        self.generator, self.discriminator = networks["generator"], networks["discriminator"]
        self.options = {"loss": "non-saturating", "label_smoothing": 0.0, "instance_noise": 0.0,
                        "feature_matching": False, "historical_averaging": 0.0,
                        "discriminator_steps": 1, **options}  # fmt: skip
        self.left = 1.0 - progress
        self.adams = {
            net: torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999), foreach=False)
            for net in (self.generator, self.discriminator)
        }
        self.history: dict[Any, list[Any]] = {net: [] for net in self.adams}

    def step(self, net, loss):
        weights = [*net.parameters()]
        past = self.history[net]
        if past:
            for place, weight in enumerate(weights):
                # Of differences: exactly 0 for a weight that never moved. Adam makes a step of the
                # rounding in a mean of equal numbers.
                apart = sum(weight - then[place] for then in past) / len(past)
                pull = (apart**2).sum()
                loss = loss + self.options["historical_averaging"] * pull
        self.adams[net].zero_grad()
        loss.backward()
        self.adams[net].step()
        past.append([weight.detach().clone() for weight in weights])

    def seen(self, real, fake, noise):
        """Both kinds of image as the discriminator sees them."""
        deviation = self.options["instance_noise"] * self.left
        if not deviation:
            return real, fake
        on_fake, on_real = noise.normal(*fake.shape), noise.normal(*real.shape)
        return real + deviation * on_real, fake + deviation * on_fake

    def discriminator_loss(self, real, fake, y):
        if self.options["loss"] == "hinge":
            of_real, of_fake = self.discriminator(real, *y), self.discriminator(fake, *y)
            return (1 - of_real).clamp(min=0).mean() + (1 + of_fake).clamp(min=0).mean()
        d_real = torch.sigmoid(self.discriminator(real, *y))
        d_fake = torch.sigmoid(self.discriminator(fake, *y))
        a = self.options["label_smoothing"]
        of_real = (1 - a) * torch.log(d_real) + a * torch.log(1 - d_real)
        return -of_real.mean() - torch.log(1 - d_fake).mean()

    def generator_loss(self, real, fake, y):
        if self.options["feature_matching"]:
            f_real, f_fake = self.hidden(real), self.hidden(fake)
            labels = y[0] if y else torch.zeros(len(real))
            return sum(
                (((f_real[labels == c].sum(0) - f_fake[labels == c].sum(0)) / len(real)) ** 2).sum()
                for c in labels.unique()
            )
        scores = self.discriminator(fake, *y)
        if self.options["loss"] == "hinge":
            return -scores.mean()
        d_fake = torch.sigmoid(scores)
        minimax = self.options["loss"] == "minimax"
        return torch.log(1 - d_fake).mean() if minimax else -torch.log(d_fake).mean()

    def hidden(self, images):
        """What goes into the last layer that has weights."""
        caught = []
        last = [m for m in self.discriminator.modules() if isinstance(m, LAYERS)][-1]
        hook = last.register_forward_hook(lambda _m, inputs, _out: caught.append(inputs[0]))
        self.discriminator.net(images)
        hook.remove()
        return caught[0].flatten(1)

    def iterate(self, reals, noise):
        for _ in range(self.options["discriminator_steps"]):
            real, labels = next(reals)
            y = () if labels is None else (labels,)
            fake = self.generator(noise.latents(6), *y).detach()
            x, g = self.seen(real, fake, noise)
            self.step(self.discriminator, self.discriminator_loss(x, g, y))
        latents = noise.latents(6)
        x, g = self.seen(real, self.generator(latents, *y), noise)
        self.step(self.generator, self.generator_loss(x, g, y))


LAYERS = (torch.nn.Linear, torch.nn.Conv2d)


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("net", ["mlp", "dcgan"])
@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("case", OPTIONS)
def test_iterations_move_every_weight_as_a_students_loop_does(case, net, classes):
    _, networks, objective = make("gan", net, classes, gan=OPTIONS[case])
    student = Student(copy.deepcopy(networks), OPTIONS[case], progress=0.25)
    optimizers, noise, reals = (
        objective.optimizers(networks),
        Noise(3, 4, CPU),
        real_batches(classes),
    )
    noise.progress.fill_(0.25)
    theirs, same = real_batches(classes), Noise(3, 4, CPU)
    for _ in range(3):
        objective.iterate(networks, optimizers, reals, noise, objective.batches)
        student.iterate(theirs, same)
    for role, expected in zip(networks, (student.generator, student.discriminator), strict=True):
        for name, weight in networks[role].state_dict().items():
            torch.testing.assert_close(weight, expected.state_dict()[name], rtol=0, atol=1e-9)


def of_two_kinds(seed=0):
    """Scores of 200 real and 300 fake images."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(200, generator=generator), torch.randn(300, generator=generator) - 1.0


def test_the_headlines_are_zero_for_a_blind_discriminator_and_largest_for_a_sure_one():
    blind, sure = torch.zeros(4), torch.full((4,), 40.0)
    assert jensen_shannon_estimate(blind, blind).item() == pytest.approx(0.0, abs=1e-7)
    assert jensen_shannon_estimate(sure, -sure).item() == pytest.approx(math.log(2.0))
    assert jensen_shannon_estimate(-sure, sure) < 0
    assert total_variation_estimate(blind, blind).item() == 0.0
    assert total_variation_estimate(sure, -sure).item() == 1.0
    assert total_variation_estimate(-sure, sure) < 0


def test_the_headlines_are_the_divergences_for_the_best_discriminator():
    """Two distributions on three points: p = (.5, .3, .2), q = (.1, .3, .6)."""
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.1, 0.3, 0.6])
    counts = 10
    real = torch.repeat_interleave(torch.arange(3), (p * counts).round().long())
    fake = torch.repeat_interleave(torch.arange(3), (q * counts).round().long())
    middle = (p + q) / 2
    js = ((p * (p / middle).log()).sum() + (q * (q / middle).log()).sum()) / 2
    best = (p / q).log()
    torch.testing.assert_close(jensen_shannon_estimate(best[real], best[fake]), js)
    tv = (p - q).abs().sum() / 2
    best = (p - q).sign()
    torch.testing.assert_close(total_variation_estimate(best[real], best[fake]), tv)
    for other in (best * 0.5, best + 0.3, best * 2):
        assert total_variation_estimate(other[real], other[fake]) <= tv + 1e-6


def test_smoothing_is_one_sided():
    real, fake = of_two_kinds()
    gradients = []
    for smoothing in (0.0, 0.1):
        r, f = real.clone().requires_grad_(), fake.clone().requires_grad_()
        cross_entropy(r, f, smoothing).backward()
        gradients.append((r.grad * len(r), f.grad * len(f)))
    (plain_r, plain_f), (smooth_r, smooth_f) = gradients
    torch.testing.assert_close(plain_f, smooth_f)
    torch.testing.assert_close(smooth_r, plain_r + 0.1)  # sigmoid(s) - target


def test_the_hinge_leaves_images_alone_that_are_beyond_the_margin():
    real = torch.tensor([1.5, 0.5]).requires_grad_()
    fake = torch.tensor([-1.5, -0.5]).requires_grad_()
    hinge(real, fake).backward()
    torch.testing.assert_close(real.grad, torch.tensor([0.0, -0.5]))
    torch.testing.assert_close(fake.grad, torch.tensor([0.0, 0.5]))


@pytest.fixture(params=[{}, {"historical_averaging": 0.3}, {"loss": "hinge"}], ids=str)
def begun(request, _float64):
    """A game some iterations old, a batch, and k = 3."""
    options = {"unroll_steps": 3, **request.param}
    _, networks, objective = make("gan", "mlp", gan=options)
    optimizers, noise, reals = objective.optimizers(networks), Noise(3, 4, CPU), real_batches()
    for _ in range(4):
        objective.iterate(networks, optimizers, reals, noise, 1)
    return objective, networks, optimizers, next(reals)[0], noise.latents(6)


def really_ahead(objective, networks, optimizers, real, fake):
    """Copies of the discriminator and of its optimizer, and three steps of theirs."""
    twin = copy.deepcopy(networks["discriminator"]).requires_grad_()
    kind = type(optimizers["discriminator"])
    pull = (objective.params.historical_averaging,) if objective.params.historical_averaging else ()
    adam = kind(twin.parameters(), *pull, lr=2e-4, betas=BETAS, fused=True)
    adam.load_state_dict(copy.deepcopy(optimizers["discriminator"].state_dict()))
    for _ in range(3):
        adam.zero_grad()
        objective._loss(twin(real), twin(fake)).backward()
        adam.step()
    return twin


def test_the_unrolled_discriminator_is_the_one_that_its_optimizer_makes(begun):
    objective, networks, optimizers, real, latents = begun
    before = copy.deepcopy(networks["discriminator"].state_dict())
    fake = networks["generator"](latents).detach()
    found = ahead(
        networks["discriminator"], optimizers["discriminator"],
        lambda later: objective._loss(later(real), later(fake)), 3, betas=BETAS,
        pull=objective.params.historical_averaging,
    )  # fmt: skip
    twin = really_ahead(objective, networks, optimizers, real, fake)
    for name, weight in twin.named_parameters():
        torch.testing.assert_close(found.weights[name], weight, rtol=0, atol=1e-10)
    assert not torch.equal(before["net.1.weight"], found.weights["net.1.weight"])
    torch.testing.assert_close(found.features(real), twin.features(real))
    for name, weight in networks["discriminator"].state_dict().items():
        assert torch.equal(weight, before[name])


def test_the_generators_gradient_goes_through_the_discriminators_steps(begun):
    """By the definition: how the loss against the discriminator to come changes with a weight."""
    objective, networks, optimizers, real, latents = begun
    generator = networks["generator"]

    def loss():
        fake = generator(latents)
        twin = really_ahead(objective, networks, optimizers, real, fake.detach())
        return objective._deceiving(twin(fake)).item()

    generator.zero_grad()
    objective.generator_loss(networks, optimizers, real, None, latents).backward()
    torch.manual_seed(5)
    for _ in range(3):
        directions = [torch.randn_like(weight) for weight in generator.parameters()]
        ours = sum(
            (w.grad * d).sum().item()
            for w, d in zip(generator.parameters(), directions, strict=True)
        )
        either_side = []
        for size in (1e-6, -1e-6):
            shift(generator, directions, size)
            either_side.append(loss())
            shift(generator, directions, -size)
        assert ours == pytest.approx((either_side[0] - either_side[1]) / 2e-6, rel=1e-4)


@torch.no_grad()
def shift(network, directions, size):
    for weight, direction in zip(network.parameters(), directions, strict=True):
        weight.add_(direction, alpha=size)


def test_looking_ahead_changes_the_gradient(begun):
    objective, networks, optimizers, real, latents = begun
    gradients = []
    for steps in (0, 3):
        objective.params = objective.params.model_copy(update={"unroll_steps": steps})
        networks["generator"].zero_grad()
        objective.generator_loss(networks, optimizers, real, None, latents).backward()
        gradients.append(torch.cat([w.grad.flatten() for w in networks["generator"].parameters()]))
    assert (gradients[0] - gradients[1]).norm() > 1e-3 * gradients[0].norm()


@pytest.mark.usefixtures("_float64")
def test_a_unit_that_never_had_a_gradient_does_not_spoil_the_others():
    _, networks, objective = make("gan", "mlp", gan={"unroll_steps": 2})
    with torch.no_grad():
        networks["discriminator"].net[1].bias[:8] = -100.0  # half of the first layer is dead
    optimizers, noise = objective.optimizers(networks), Noise(3, 4, CPU)
    for _ in range(2):
        objective.iterate(networks, optimizers, real_batches(), noise, 1)
    assert all(w.isfinite().all() for net in networks.values() for w in net.parameters())


def test_instance_noise_is_gone_at_the_end():
    *_, objective = make("gan", gan={"instance_noise": 0.5})
    noise, (real, _) = Noise(3, 4, CPU), next(real_batches())
    sizes = []
    for progress in (0.0, 0.5, 1.0):
        noise.progress.fill_(progress)
        _, on_fake, on_real = objective.opponent_draws(noise, real)
        sizes.append((on_fake.std().item(), on_real.std().item()))
    assert sizes[0] == pytest.approx((0.5, 0.5), rel=0.1)
    assert sizes[1] == pytest.approx((0.25, 0.25), rel=0.1)
    assert sizes[2] == (0.0, 0.0)


def test_a_blind_discriminator_learns_to_tell_and_the_generator_to_deceive():
    """The sign of each: their own steps alone raise, and lower, the headline."""
    for loss in ("non-saturating", "minimax", "hinge"):
        _, networks, objective = make("gan", gan={"loss": loss, "learning_rate": 1e-3})
        optimizers, noise = objective.optimizers(networks), Noise(0, 4, CPU)
        real = itertools.repeat((torch.full((6, 2, 8, 8), 0.5), None))

        def play(networks=networks, optimizers=optimizers, real=real, noise=noise, by=objective):
            seen = [by.iterate(networks, optimizers, real, noise, 1) for _ in range(30)]
            return seen[0][by.headline].item(), seen[-1][by.headline].item()

        optimizers["generator"].param_groups[0]["lr"] = 0.0
        first, last = play()
        assert last > first + 0.1, loss
        optimizers["generator"].param_groups[0]["lr"] = 1e-2
        optimizers["discriminator"].param_groups[0]["lr"] = 0.0
        first, last = play()
        assert last < first - 0.1, loss

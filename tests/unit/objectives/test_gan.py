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
from monge.objectives.augment import transformed
from monge.objectives.gan import (
    BETAS,
    cross_entropy,
    hinge,
    jensen_shannon_estimate,
    total_variation_estimate,
)
from monge.objectives.unrolled import ahead
from monge.params import Params
from monge.params.pairs import impossible_pairs
from tests.unit.nets.spectral_by_hand import ByHand
from tests.unit.objectives.small import CPU, SPECTRAL, make, real_batches, shape_for

OPTIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "minimax": {"loss": "minimax"},
    "hinge": {"loss": "hinge"},
    "hinge, spectral": {"loss": "hinge", "discriminator_steps": 2},
    "smoothed": {"label_smoothing": 0.1},
    "noised": {"instance_noise": 0.5},
    "matched": {"feature_matching": True},
    "augmented": {"instance_noise": 0.5},
    "averaged": {"historical_averaging": 0.3},
    "all at once": {
        "label_smoothing": 0.1, "instance_noise": 0.5, "feature_matching": True,
        "historical_averaging": 0.3, "discriminator_steps": 2,
    },
}  # fmt: skip
BESIDE: dict[str, dict[str, Any]] = {
    "hinge, spectral": SPECTRAL,
    "augmented": {"augment": "diffaugment"},
}


class Student:
    """One iteration after the other, by the definitions."""

    def __init__(self, networks, options, progress, augmented=False):
        self.generator, self.discriminator = networks["generator"], networks["discriminator"]
        self.augmented = augmented
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
        if deviation:
            on_fake, on_real = noise.normal(*fake.shape), noise.normal(*real.shape)
        if self.augmented:
            of_real, of_fake = noise.uniform(6, 12), noise.uniform(6, 12)
            real, fake = (
                transformed(images, draws, torch.ones(6))
                for images, draws in ((real, of_real), (fake, of_fake))
            )
        if not deviation:
            return real, fake
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
            self.discriminator.follow()
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
    beside, shape = BESIDE.get(case, {}), shape_for(net)
    _, networks, objective = make("gan", net, classes, shape=shape, gan=OPTIONS[case], **beside)
    textbook = copy.deepcopy(networks)
    by_hand = ByHand(textbook["discriminator"])
    playing = {**textbook, "discriminator": by_hand} if case == "hinge, spectral" else textbook
    student = Student(playing, OPTIONS[case], 0.25, augmented=case == "augmented")
    optimizers, noise = objective.optimizers(networks), Noise(3, 4, CPU)
    reals, theirs = real_batches(classes, shape), real_batches(classes, shape)
    noise.progress.fill_(0.25)
    same = Noise(3, 4, CPU)
    for _ in range(3):
        objective.iterate(networks, optimizers, reals, noise, objective.batches)
        student.iterate(theirs, same)
    for role, network in networks.items():
        for name, weight in network.state_dict().items():
            torch.testing.assert_close(weight, textbook[role].state_dict()[name], rtol=0, atol=1e-9)


@pytest.mark.parametrize("net", ["mlp", "dcgan"])
def test_each_option_goes_with_each_other_one_and_with_labels(net):
    """All but smoothed targets of the hinge loss, which has none and is refused with them."""
    values = {
        "loss": ("non-saturating", "minimax", "hinge"), "label_smoothing": (0.0, 0.1),
        "instance_noise": (0.0, 0.5), "feature_matching": (False, True),
        "historical_averaging": (0.0, 0.3), "unroll_steps": (0, 1),
    }  # fmt: skip
    played = 0
    for chosen in itertools.product(*values.values()):
        options = dict(zip(values, chosen, strict=True))
        train, networks, objective = make("gan", net, 3, gan=options)
        refused = bool(options["loss"] == "hinge" and options["label_smoothing"])
        assert bool(impossible_pairs(Params(train=train))) == refused, options
        if refused:
            continue
        before = copy.deepcopy([*networks["generator"].parameters()])
        optimizers, noise = objective.optimizers(networks), Noise(3, 4, CPU)
        readings = objective.iterate(networks, optimizers, real_batches(3), noise, 1)
        weights = [w for network in networks.values() for w in network.parameters()]
        assert all(value.isfinite().all() for value in (*readings.values(), *weights)), options
        moved = zip(before, networks["generator"].parameters(), strict=True)
        assert not any(torch.equal(*pair) for pair in moved), options
        played += 1
    assert played == 80


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


UNROLLED: dict[str, tuple[str, int, dict[str, Any], dict[str, Any]]] = {
    "as it is": ("mlp", 0, {}, {}),
    "averaged": ("mlp", 0, {"historical_averaging": 0.3}, {}),
    "hinge": ("mlp", 0, {"loss": "hinge"}, {}),
    "minimax": ("mlp", 3, {"loss": "minimax", "label_smoothing": 0.1}, {}),
    "compared": ("mlp", 0, {}, {"mlp": {"depth": 2, "width": 16, "minibatch_kernels": 3}}),
    "matched": ("mlp", 3, {"feature_matching": True, "instance_noise": 0.5}, {}),
    "spectral": ("dcgan", 3, {"loss": "hinge"}, SPECTRAL),
    "batch norm": ("dcgan", 0, {}, {"dcgan": {"features": 4, "critic_norm": "batch"}}),
    "all at once": ("dcgan", 3, OPTIONS["all at once"], {"augment": "diffaugment"}),
}
"""The net, the classes, the options and the other sections of games with k = 3."""


class Game:
    """One that is some iterations old, and what the definition makes of it."""

    def __init__(self, case):
        net, classes, options, beside = UNROLLED[case]
        gan = {**options, "unroll_steps": 3}
        shape = shape_for(net)
        _, self.networks, self.objective = make("gan", net, classes, shape=shape, gan=gan, **beside)
        self.optimizers, self.noise = self.objective.optimizers(self.networks), Noise(3, 4, CPU)
        self.noise.progress.fill_(0.25)
        self.reals, self.batches = real_batches(classes, shape), self.objective.batches
        self.pull = self.objective.params.historical_averaging
        self.followed: list[list[torch.Tensor]] = []
        for _ in range(3):
            self.iterate()
        self.student = Student(self.networks, options, 0.25, augmented="augment" in beside)
        self.real, labels = next(real_batches(classes, shape))
        self.y = () if labels is None else (labels,)

    def iterate(self):
        playing = self.networks, self.optimizers, self.reals, self.noise, self.batches
        self.objective.iterate(*playing)

    def mean_of_the_past(self, role):
        """The mean that historical averaging pulls each weight to; without it, the weight."""
        kept = self.optimizers[role].state
        return [kept[w].get("mean", w).detach().clone() for w in self.networks[role].parameters()]

    def loss(self, discriminator, real, fake):
        self.student.discriminator = discriminator
        return self.student.discriminator_loss(real, fake, self.y)

    def really_ahead(self, real, fake):
        """Copies of the discriminator and of its optimizer, and three steps of theirs."""
        twin = copy.deepcopy(self.networks["discriminator"]).requires_grad_()
        own, pull = self.optimizers["discriminator"], [self.pull] if self.pull else []
        adam = type(own)(twin.parameters(), *pull, lr=2e-4, betas=BETAS, fused=True)
        adam.load_state_dict(copy.deepcopy(own.state_dict()))
        for done in range(3):
            self._follow(twin, done)
            adam.zero_grad()
            self.loss(twin, real, fake).backward()
            adam.step()
        return twin

    def _follow(self, twin, done):
        """A power step; always the one that was taken first, as no gradient goes through it."""
        if done == len(self.followed):
            twin.follow()
            self.followed.append([buffer.clone() for buffer in twin.buffers()])
        for buffer, value in zip(twin.buffers(), self.followed[done], strict=True):
            buffer.copy_(value)


@pytest.fixture(params=UNROLLED)
def game(request, _float64):
    return Game(request.param)


def test_the_unrolled_discriminator_is_the_one_that_its_optimizer_makes(game):
    discriminator, real = game.networks["discriminator"], game.real
    before = copy.deepcopy(discriminator.state_dict())
    fake = game.networks["generator"](game.noise.latents(6), *game.y).detach()
    found = ahead(
        discriminator, game.optimizers["discriminator"],
        lambda later: game.loss(later, real, fake), 3, betas=BETAS,
        pull=game.pull,
    )  # fmt: skip
    twin = game.really_ahead(real, fake)
    made = {**found.weights, **found.buffers}
    assert made.keys() == before.keys()
    for name, tensor in twin.state_dict().items():
        torch.testing.assert_close(made[name], tensor, rtol=0, atol=1e-10)
    first, weight = next(iter(found.weights.items()))
    assert not torch.equal(before[first], weight)
    torch.testing.assert_close(found.features(real), twin.features(real))
    for name, tensor in discriminator.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_the_generators_gradient_goes_through_the_discriminators_steps(game):
    """By the definition: how the loss against the discriminator to come changes with a weight.

    The gradient is the one that an iteration leaves, after the discriminator's own steps in it.
    """
    generator, same = copy.deepcopy(game.networks["generator"]), Noise(3, 4, CPU)
    same.generator.set_state(game.noise.generator.get_state())
    for _ in range(game.batches):
        game.real, *game.y = (value for value in next(game.reals) if value is not None)
        same.latents(6)
        game.student.seen(game.real, game.real, same)
    latents, drawn = same.latents(6), same.generator.get_state()
    game.reals = itertools.repeat((game.real, game.y[0] if game.y else None))
    mean = game.mean_of_the_past("generator")
    game.iterate()

    def loss():
        same.generator.set_state(drawn)
        real, fake = game.student.seen(game.real, generator(latents, *game.y), same)
        game.student.discriminator = game.really_ahead(real, fake.detach())
        apart = sum(((w - m) ** 2).sum() for w, m in zip(generator.parameters(), mean, strict=True))
        return (game.student.generator_loss(real, fake, game.y) + game.pull * apart).item()

    torch.manual_seed(5)
    for _ in range(3):
        directions = [torch.randn_like(weight) for weight in generator.parameters()]
        ours = sum(
            (w.grad * d).sum().item()
            for w, d in zip(game.networks["generator"].parameters(), directions, strict=True)
        )
        either_side = []
        for size in (1e-8, -1e-8):  # so small that no rectifier in the discriminator turns over
            shift(generator, directions, size)
            either_side.append(loss())
            shift(generator, directions, -size)
        assert ours == pytest.approx((either_side[0] - either_side[1]) / 2e-8, rel=1e-4)


@torch.no_grad()
def shift(network, directions, size):
    for weight, direction in zip(network.parameters(), directions, strict=True):
        weight.add_(direction, alpha=size)


@pytest.mark.parametrize("game", ["as it is", "averaged", "hinge"], indirect=True)
def test_looking_ahead_changes_the_gradient(game):
    gradients = []
    latents, *draws = game.objective.generator_draws(game.noise, game.real)
    for steps in (0, 3):
        game.objective.params = game.objective.params.model_copy(update={"unroll_steps": steps})
        game.networks["generator"].zero_grad()
        labels = game.y[0] if game.y else None
        game.objective.generator_loss(
            game.networks, game.optimizers, game.real, labels, latents, *draws
        ).backward()
        weights = game.networks["generator"].parameters()
        gradients.append(torch.cat([w.grad.flatten() for w in weights]))
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

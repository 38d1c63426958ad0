"""Protects: what the opponent sees of few images, against a loop over pixels; and that it stays
with the opponent."""

import pytest
import torch

from monge.objectives import Noise, augment
from monge.objectives.augment import DRAWS, Shown, transformed, views
from tests.unit.objectives.small import CPU, make, real_batches

ALWAYS = torch.ones(1)


def by_pixels(image, u, chance):
    """DiffAugment of one image [C, H, W], one operation after the other, in Python's numbers."""
    height, width = image.shape[1:]
    bright, saturated, contrasted, moved, cut = (g < chance for g in u[7:])
    if bright:
        image = image + (u[0] - 0.5)
    if saturated:
        grey = image.mean(0)
        image = torch.stack([(c - grey) * (u[1] * 2) + grey for c in image])
    if contrasted:
        image = (image - image.mean()) * (u[2] + 0.5) + image.mean()
    if moved:
        most = (height + 4) // 8, (width + 4) // 8
        down, right = (int(u[3 + i] * (2 * most[i] + 1)) - most[i] for i in range(2))
        before, image = image, torch.zeros_like(image)
        for row in range(height):
            for column in range(width):
                if 0 <= row - down < height and 0 <= column - right < width:
                    image[:, row, column] = before[:, row - down, column - right]
    if cut:
        top, left = int(u[5] * height) - height // 4, int(u[6] * width) - width // 4
        image = image.clone()
        rows = slice(max(0, top), max(0, top + height // 2))
        image[:, rows, max(0, left) : max(0, left + width // 2)] = 0.0
    return image


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 16), (3, 12, 20)])
@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_images_are_transformed_as_a_loop_over_pixels_does(shape, chance):
    torch.manual_seed(0)
    images, draws = torch.rand(40, *shape) * 2 - 1, torch.rand(40, DRAWS)
    seen = transformed(images, draws, torch.full((40,), chance))
    for image, u, found in zip(images, draws, seen, strict=True):
        torch.testing.assert_close(found, by_pixels(image, u.tolist(), chance))


@pytest.mark.usefixtures("_float64")
def test_the_generators_gradient_goes_through_it():
    images, draws = torch.rand(2, 2, 4, 4, requires_grad=True), torch.rand(2, DRAWS)
    assert torch.autograd.gradcheck(lambda x: transformed(x, draws, ALWAYS.expand(2)), images)


def test_a_reduced_precision_of_the_networks_does_not_round_what_is_seen():
    images, draws = torch.rand(4, 3, 8, 8), torch.rand(4, DRAWS)
    plain = transformed(images, draws, ALWAYS.expand(4))
    with torch.autocast("cpu", torch.bfloat16):
        seen = Shown(torch.nn.Identity(), draws, ALWAYS.expand(4))(images)
    assert torch.equal(seen, plain)


class Witness(torch.nn.Module):
    """A critic that keeps what it is shown."""

    def __init__(self, critic):
        super().__init__()
        self.critic, self.shown = critic, []

    def forward(self, images):
        self.shown.append(images.detach().clone())
        return self.critic(images)


@pytest.mark.parametrize("method", ["gan", "rpgan", "wgan", "wgan-gp"])
def test_real_and_generated_images_are_transformed_in_both_steps(method, monkeypatch):
    """With a transformation to a known value, nothing else is ever seen."""
    monkeypatch.setattr(augment, "transformed", lambda images, *_: images * 0.0 + 0.25)
    _, networks, objective = make(method, augment="diffaugment")
    networks[objective.opponent] = witness = Witness(networks[objective.opponent])
    optimizers = objective.optimizers(networks)
    objective.iterate(networks, optimizers, real_batches(), Noise(0, 4, CPU), 2)
    assert len(witness.shown) >= 3
    assert all(bool((images - 0.25).abs().max() < 1e-6) for images in witness.shown)


def test_real_and_generated_images_are_transformed_by_numbers_of_their_own():
    noise = Noise(0, 4, CPU)
    noise.chance.fill_(0.3)
    of_real, chance, of_fake, too = views(noise, 5)
    assert of_real.shape == of_fake.shape == (5, DRAWS)
    assert not torch.equal(of_real, of_fake)
    assert torch.equal(chance, torch.full((5,), 0.3))
    assert torch.equal(chance, too)


@pytest.fixture
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_one_thread")
def test_the_generator_does_not_learn_to_draw_transformed_images():
    """Real images are one picture with a little noise: what is learnt is the picture."""
    picture = torch.linspace(-0.8, 0.8, 8).expand(2, 8, 8)
    _, networks, objective = make(
        "rpgan", augment="diffaugment", mlp={"depth": 2, "width": 64},
        rpgan={"penalty_weight": 0.1, "penalty_weight_end": 0.1},
    )  # fmt: skip
    noise, optimizers = Noise(0, 4, CPU), objective.optimizers(networks)
    dice = torch.Generator().manual_seed(0)
    reals = iter(lambda: (picture + 0.02 * torch.randn(32, 2, 8, 8, generator=dice), None), None)
    for done in range(600):
        for optimizer in optimizers.values():
            optimizer.param_groups[0]["lr"] = 2e-3 * (1 - done / 600)
        objective.iterate(networks, optimizers, reals, noise, 1)
    with torch.no_grad():
        generated = networks["generator"](torch.randn(200, 4, generator=dice))
    seen = transformed(
        picture.expand(200, 2, 8, 8), torch.rand(200, DRAWS, generator=dice), ALWAYS.expand(200)
    )
    apart, allowed = (
        (images - picture).square().mean((1, 2, 3)).sqrt().median() for images in (generated, seen)
    )
    assert apart < 0.3 * allowed

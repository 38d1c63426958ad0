"""Protects: a picture that the generator draws is found again, in time, the same for a seed."""

import time
from dataclasses import replace

import pytest
import torch

from monge import nets
from monge.inversion.likeness import Likeness
from monge.inversion.search import Search, search
from monge.inversion.training import Lessons, train_encoder
from monge.latents import latents
from monge.objectives import conditioned
from monge.params import TrainParams

DIM, SHAPE = 6, (1, 8, 8)
TRAIN = TrainParams.model_validate(
    {"net": "mlp", "latent_dim": DIM, "mlp": {"depth": 2, "width": 64}}
)
QUICK = Search(DIM, restarts=6, steps=200, samples=1024)


def drawn(seed, count):
    return torch.from_numpy(latents(seed, 0, count, DIM))


def made(classes=0):
    """A generator with random weights, large enough that its images differ."""
    torch.manual_seed(5)
    generator = nets.build("generator", TRAIN, SHAPE, classes).eval().requires_grad_(False)
    with torch.no_grad():
        for weight in generator.parameters():
            weight.mul_(3.0)
    return generator


@pytest.fixture(scope="module")
def generator():
    return made()


@pytest.fixture(scope="module")
def likeness(generator):
    return Likeness(generator(drawn(1, 500)))


def test_the_mean_image_is_at_distance_one_on_average(generator, likeness):
    assert float(likeness.to_mean(generator(drawn(1, 500))).mean()) == pytest.approx(1.0, rel=1e-3)


def test_what_the_generator_drew_is_found_again_with_its_latents(generator, likeness):
    z = drawn(7, 6)
    images = generator(z)
    steps: list[int] = []
    found = search(generator, images, likeness, QUICK, advance=steps.append)
    assert float(likeness.distances(generator(found.latents), images).max()) < 1e-4
    torch.testing.assert_close(generator(found.latents), images, atol=0.02, rtol=0)
    torch.testing.assert_close(found.latents, z, atol=0.05, rtol=0)
    assert float(found.sample_distances.min()) > 0.01  # no sample was it
    assert found.steps == QUICK.steps
    assert sum(steps) == 6 * found.steps


def test_pictures_of_another_kind_stay_far_and_their_latents_plausible(generator, likeness):
    others = torch.sign(torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(2)))
    found = search(generator, others, likeness, QUICK)
    assert float(likeness.distances(generator(found.latents), others).min()) > 0.3
    assert float(found.latents.square().mean(1).max()) < 4.0


def test_more_than_a_batch_of_pictures_and_the_same_for_a_seed(generator, likeness):
    how = Search(DIM, restarts=100, steps=5, samples=300)
    images = generator(drawn(8, 5))  # two at a time
    once, again = (search(generator, images, likeness, how) for _ in range(2))
    assert once.latents.equal(again.latents)
    other = search(generator, images, likeness, Search(DIM, restarts=1, steps=5, seed=3))
    assert not other.latents.equal(once.latents)


def test_it_ends_when_time_is_up_with_the_best_it_has(generator, likeness):
    images = generator(drawn(9, 40))
    began = time.monotonic()
    found = search(
        generator, images, likeness, Search(DIM, seconds=1.0, restarts=32, steps=10**6, samples=512)
    )
    assert time.monotonic() - began < 4.0
    assert found.steps < 10**6
    apart = likeness.distances(generator(found.latents), images)
    assert bool((apart <= found.sample_distances + 1e-4).all())


def test_colours_and_sides_of_any_length_have_a_gradient():
    images = torch.rand(3, 3, 20, 13).requires_grad_()
    likeness = Likeness(torch.rand(50, 3, 20, 13))
    likeness.distances(images, likeness.mean_image.expand_as(images)).sum().backward()
    assert images.grad is not None
    assert bool(images.grad.isfinite().all())
    assert bool((images.grad != 0).any(1).all())  # every pixel counts
    assert not likeness.distances(images, images).any()


def test_labels_are_tried_or_taken():
    generator, shares = made(3), (0.4, 0.3, 0.3)
    labels = torch.tensor([0, 1, 2, 2])
    images = conditioned(generator, drawn(7, 4), labels)
    known = torch.arange(500) % 3
    likeness = Likeness(conditioned(generator, drawn(1, 500), known))
    many = replace(QUICK, restarts=24, shares=shares)  # of which enough have each label
    found = search(generator, images, likeness, many)
    assert found.labels is not None
    back = conditioned(generator, found.latents, found.labels)
    assert float(likeness.distances(back, images).max()) < 1e-3
    assert found.labels.tolist() == labels.tolist()
    only = search(generator, images, likeness, replace(QUICK, shares=shares, label=1))
    assert only.labels is not None
    assert only.labels.tolist() == [1, 1, 1, 1]


def test_a_guess_is_one_start_more(generator, likeness):
    z = drawn(7, 3)
    how = Search(DIM, restarts=1, steps=0, samples=1)
    found = search(generator, generator(z), likeness, how, guesses=z)
    assert found.latents.equal(z)


def test_an_encoder_learns_the_latents_of_the_generators_images(generator, likeness):
    torch.manual_seed(0)
    encoder = nets.build("encoder", TRAIN, SHAPE)
    steps: list[int] = []
    learned = train_encoder(
        encoder, generator, likeness, Lessons(DIM, steps=600, seconds=600.0), steps.append
    )
    assert (learned.steps, sum(steps)) == (600, 600)
    z = drawn(33, 200)
    with torch.no_grad():
        own = float((encoder(generator(z)) - z).square().mean())
    assert own == pytest.approx(learned.latents, rel=0.3)
    assert learned.latents < 0.5  # 1 for who knows nothing
    assert learned.images < 0.5
    assert not encoder.training


def test_an_encoders_training_ends_when_time_is_up(generator, likeness):
    encoder = nets.build("encoder", TRAIN, SHAPE)
    began = time.monotonic()
    how = Lessons(DIM, steps=10**7, seconds=0.5)
    assert train_encoder(encoder, generator, likeness, how).steps < 10**7
    assert time.monotonic() - began < 4.0

"""The network that comes with the package, on images that it was not trained on."""

from importlib import resources

import numpy as np
import pytest
from safetensors.numpy import load

from monge.metrics.pretrained import FEATURES, WEIGHTS, pretrained_extractor


def test_its_weights_are_small_and_come_with_the_package():
    weights = resources.files("monge.metrics").joinpath(WEIGHTS).read_bytes()
    assert len(weights) < 2**20
    assert all(np.isfinite(value).all() for value in load(weights).values())


@pytest.mark.parametrize(
    "shape", [(1, 8, 8), (3, 32, 32), (4, 64, 64), (3, 20, 31), (2, 5, 4), (1, 200, 100)]
)
def test_images_of_every_size_and_colour_have_features(shape: tuple[int, int, int]):
    pixels = np.random.default_rng(0).integers(0, 256, (12, *shape), dtype=np.uint8)
    features = pretrained_extractor().features(pixels)
    assert features.shape == (12, FEATURES)
    assert np.isfinite(features).all()
    assert features.std(axis=0).max() > 0


def test_a_grey_image_is_the_same_in_colour():
    look = pretrained_extractor()
    grey = np.random.default_rng(1).integers(0, 256, (3, 1, 16, 16), dtype=np.uint8)
    np.testing.assert_array_equal(look.features(grey), look.features(np.repeat(grey, 3, axis=1)))


def test_colours_that_nobody_sees_do_not_count():
    look = pretrained_extractor()
    pixels = np.random.default_rng(2).integers(0, 256, (3, 4, 16, 16), dtype=np.uint8)
    pixels[:, 3] = np.where(pixels[:, 3] < 128, 0, 255)
    other = np.where(pixels[:, 3:] == 0, 255 - pixels, pixels)
    other[:, 3] = pixels[:, 3]
    np.testing.assert_array_equal(look.features(pixels), look.features(other))
    assert not np.array_equal(look.features(pixels), look.features(pixels[:, :3]))


def test_its_features_are_the_same_in_every_process_and_named_in_protocols():
    first, second = pretrained_extractor(), pretrained_extractor()
    pixels = np.random.default_rng(3).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)
    np.testing.assert_array_equal(first.features(pixels), second.features(pixels))
    assert first.hash == second.hash
    assert first.resizer((3, 32, 32)) == first.resizer((3, 64, 64)) != "none"
    assert first.probabilities(pixels) is None

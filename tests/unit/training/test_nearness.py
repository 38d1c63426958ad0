"""Protects: the share that is left falls from noise to real images, whatever they are of."""

import logging
import math

import numpy as np
import pytest
import torch

from monge.data.batches import normalise
from monge.data.packed import PackedDataset
from monge.metrics.pyramid import PyramidMoments, pyramid_distance
from monge.training.watch.nearness import GRIDS, Nearness, shuffled


def gaussians(images):
    return PyramidMoments().add(normalise(torch.from_numpy(images))).gaussians()


@pytest.fixture(scope="module")
def dataset(packed_digits):
    return PackedDataset.open(packed_digits)


@pytest.fixture
def near(dataset):
    held_out = gaussians(np.asarray(dataset.validation.take(np.arange(len(dataset.validation)))))
    return Nearness(dataset, held_out)


def left(near, images):
    return near.share_left(pyramid_distance(gaussians(images), list(near.held_out)))


def test_noise_is_all_of_it_and_real_images_none(near, dataset):
    real = dataset.train.take(np.arange(len(dataset.train)))
    assert left(near, shuffled(real)) == pytest.approx(1.0, abs=0.05)
    assert left(near, real) == pytest.approx(0.0, abs=0.05)
    dice = np.random.default_rng(1)
    shares = []
    for strength in (0.0, 0.2, 0.5, 0.9):  # mixed with other images of the same set
        mixed = (1 - strength) * real + strength * real[dice.permutation(len(real))]
        shares.append(left(near, mixed.astype(np.uint8)))
    assert shares[0] < shares[1] < shares[2]
    assert 0.0 < shares[2] < 1.0


def test_noise_has_the_levels_of_the_images_in_each_channel():
    images = np.random.default_rng(0).integers(0, 256, (20, 3, 8, 8), np.uint8)
    mixed = shuffled(images)
    assert mixed.shape == images.shape
    for channel in range(3):
        one, other = np.sort(mixed[:, channel].ravel()), np.sort(images[:, channel].ravel())
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(mixed, shuffled(images))
    assert (mixed != images).mean() > 0.9


def test_it_is_told_with_the_newest_samples(near, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    near.tell(near._ends[0], 10, 50, tmp_path)
    assert caplog.messages == [
        "step 10 of 50: 100% from the real images (100% is noise, 0% other real ones)"
    ]
    for step in (10, 20):
        (tmp_path / GRIDS).mkdir(exist_ok=True)
        (tmp_path / GRIDS / f"step-{step:08d}.png").touch()
    near.tell(near._ends[1], 20, 50, tmp_path)
    assert caplog.messages[-1].startswith("step 20 of 50: 0% from the real images")
    assert caplog.messages[-1].endswith(f"samples in {tmp_path}/grids/step-00000020.png")


def test_where_noise_is_no_further_than_real_images_nothing_is_told(near, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    near.__dict__["_ends"] = (1.0, 2.0)
    assert math.isnan(near.share_left(1.5))
    near.tell(1.5, 1, 2, tmp_path)
    assert not caplog.messages

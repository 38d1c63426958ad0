"""Protects: what `benchmarks/judges.py` counts, and what `benchmarks/pretrained.py` teaches."""

import numpy as np
import torch

from benchmarks import judges, pretrained, sets


def test_a_step_that_does_not_rise_by_three_standard_errors_is_wrong():
    levels = {"real": 0, "blurred slightly": 40, "blurred strongly": 41, "mean image": 200}
    rng = np.random.default_rng(0)
    made = {
        name: (level + rng.integers(0, 20, (50, 1, 1, 1))).astype(np.uint8)
        for name, level in levels.items()
    }
    row = judges.measure(lambda images: float(images.mean()), made, 10)
    assert row.wrong == ["blurred slightly < blurred strongly"]
    assert row.found["mean image"][0] > row.found["real"][0]


def test_drawn_sets_have_every_class_and_fill_the_image():
    for kind, channels, classes in (("drawings", 1, 3), ("icons", 3, 5)):
        drawn = sets.icons() if kind == "icons" else sets.drawings()
        images, names = judges.small((next(drawn) for _ in range(15)), 16)
        assert images.shape == (15, channels, 16, 16)
        assert len(set(names)) == classes
        assert all(image.std() > 10 for image in images)


def test_every_second_image_is_spoilt_as_much_as_is_said():
    torch.manual_seed(0)
    x = torch.rand(240, 3, 16, 16) * 1.8 - 0.9
    spoilt, amounts = pretrained.spoil(x)
    touched = amounts.amax(1) > 0
    assert touched.sum() == 120
    assert torch.equal(spoilt[~touched], x[~touched])
    assert ((spoilt - x).abs().amax((1, 2, 3)) > 0)[touched].all()
    assert ((amounts == 0) | (amounts >= 0.2)).all()
    assert (amounts > 0).sum(0).tolist() == [20] * 6


def test_more_blur_leaves_less_and_grain_adds():
    torch.manual_seed(1)
    x = torch.rand(8, 3, 32, 32) - 0.5
    little, much = torch.full((8, 1, 1, 1), 0.1), torch.full((8, 1, 1, 1), 0.9)
    for ways, order in ((pretrained.blurred, -1), (pretrained.grainy, 1)):
        assert order * (ways(x, much).std() - ways(x, little).std()) > 0


def test_a_picture_and_its_class_stay_together():
    drawn = pretrained.glyphs(30, seed=0)
    again = pretrained.glyphs(30, seed=0)
    np.testing.assert_array_equal(drawn.ink, again.ink)
    images = np.full((20, 3, 32, 32), 128, np.uint8)
    pictures = pretrained.Pictures(images, np.arange(20) % 2, drawn)
    x, labels = pictures.batch()
    assert x.shape == (pretrained.BATCH, 3, 32, 32)
    assert int(labels[: pretrained.PHOTOGRAPHS].max()) == 1
    assert set((labels[pretrained.PHOTOGRAPHS :] - 2).tolist()) <= set(drawn.labels.tolist())

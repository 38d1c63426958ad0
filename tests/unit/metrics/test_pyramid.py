"""Protects: the quick figure is the Fréchet distance that it says, and grows with every fault."""

import numpy as np
import pytest
import scipy.linalg
import torch

from monge.metrics.pyramid import PyramidMoments, levels, pyramid_distance


def pictures(count, channels, side, seed):
    """Smooth pictures with some grain, in −1..1."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, channels, 4, 4, generator=generator)
    large = torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")
    grain = torch.randn(count, channels, side, side, generator=generator)
    return torch.tanh(0.7 * large + 0.2 * grain)


def gaussians(images):
    return PyramidMoments().add(images).gaussians()


def definition(x, y):
    """Of two sets of vectors, in float64, with SciPy's square root of a matrix."""
    a, b = (np.cov(v, rowvar=False) for v in (x, y))
    root = scipy.linalg.sqrtm(a @ b).real
    shift = x.mean(axis=0) - y.mean(axis=0)
    return (shift @ shift + np.trace(a + b - 2.0 * root)) / np.trace(b)


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 5), (1, 4)])
def test_of_small_pictures_it_is_the_frechet_distance_of_their_pixels(channels, side):
    made, real = pictures(600, channels, side, 1) * 0.8, pictures(500, channels, side, 2)
    expected = definition(*(v.double().flatten(1).numpy() for v in (made, real)))
    assert pyramid_distance(gaussians(made), gaussians(real)) == pytest.approx(expected, rel=1e-4)


def test_of_larger_ones_it_is_the_mean_over_the_octaves_of_a_laplacian_pyramid():
    made, real = pictures(400, 1, 16, 1) * 0.8, pictures(400, 1, 16, 2)
    shares = []
    cut_up = []
    for x in (made.double().numpy()[:, 0], real.double().numpy()[:, 0]):
        coarse = x.reshape(-1, 8, 2, 8, 2).mean(axis=(2, 4))
        detail = x - np.kron(coarse, np.ones((2, 2)))
        patches = detail.reshape(-1, 4, 4, 4, 4).transpose(0, 1, 3, 2, 4).reshape(-1, 16)
        cut_up.append((coarse.reshape(-1, 64), patches))
    shares = [definition(a, b) for a, b in zip(*cut_up, strict=True)]
    found = pyramid_distance(gaussians(made), gaussians(real))
    assert found == pytest.approx(np.mean(shares), rel=1e-4)


@pytest.mark.parametrize(
    ("side", "sizes"),
    [(4, [16]), (8, [64]), (28, [49, 16, 16]), (64, [64, 16, 16, 16]), (100, [64, 16, 16, 16])],
)
def test_any_size_is_cut_into_octaves_down_to_the_whole_picture(side, sizes):
    assert [part.shape[1] for part in levels(torch.zeros(2, 1, side, side))] == sizes


@pytest.mark.parametrize("side", [8, 32])
def test_it_grows_with_blur_noise_missing_modes_and_flat_contrast(side):
    real, made = gaussians(pictures(1000, 3, side, 1)), pictures(1000, 3, side, 2)
    noise = torch.randn(made.shape, generator=torch.Generator().manual_seed(3))
    blurred = torch.nn.functional.avg_pool2d(
        torch.nn.functional.pad(made, (1, 1, 1, 1), mode="replicate"), 3, 1
    )

    def figure(images):
        return pyramid_distance(gaussians(images), real)

    well = figure(made)
    assert well < 0.1
    for worse in (
        [torch.lerp(made, blurred, share) for share in (0.5, 1.0)],
        [made + size * noise for size in (0.2, 0.4)],
        [made[torch.arange(1000) % kinds] for kinds in (100, 10)],
        [made * contrast for contrast in (0.7, 0.4)],
    ):
        figures = [well, *map(figure, worse)]
        assert figures == sorted(figures)
        assert figures[1] > 1.3 * well


def test_equal_sets_are_at_nothing_and_the_mean_picture_at_one():
    real = pictures(500, 1, 16, 1)
    same = real.mean(dim=0, keepdim=True).expand_as(real)
    assert pyramid_distance(gaussians(real), gaussians(real)) == pytest.approx(0.0, abs=1e-9)
    whole = [gaussians(images)[:1] for images in (same, real)]
    assert pyramid_distance(*whole) == pytest.approx(1.0, rel=1e-6)


def test_batches_add_up_to_the_whole():
    images = pictures(300, 3, 16, 1)
    parts = PyramidMoments().add(images[:7]).add(images[7:]).gaussians()
    for a, b in zip(parts, gaussians(images), strict=True):
        assert a.count == b.count
        np.testing.assert_allclose(a.mean, b.mean, atol=1e-12)
        np.testing.assert_allclose(a.covariance, b.covariance, atol=1e-12)


def test_one_picture_alone_and_flat_ones_have_a_figure():
    for images in (pictures(1, 3, 16, 1), torch.zeros(5, 3, 16, 16)):
        assert np.isfinite(pyramid_distance(gaussians(pictures(9, 3, 16, 2)), gaussians(images)))


def test_what_is_not_finite_has_none_and_raises_nothing():
    real = gaussians(pictures(20, 1, 8, 1))
    assert np.isnan(pyramid_distance(gaussians(torch.full((20, 1, 8, 8), float("nan"))), real))


def test_no_picture_at_all_is_refused():
    with pytest.raises(ValueError, match="no image"):
        PyramidMoments().gaussians()

"""Protects: what is transparent in a picture stays so, from any format, and has no colour."""

import io

import numpy as np
import pytest
from PIL import Image

from monge.alpha import on_checkers, on_grey, premultiplied, straight
from monge.data.decode import Recipe, decode
from monge.pictures import tile


def recipe(size=8, fit="pad", **more):
    return Recipe(size, "rgba", fit, "#ff00ff", 10**6, **more)


def icon(mode="RGBA", size=16):
    """A red half whose opacity falls from left to right, and a clear half with a hidden colour."""
    pixels = np.zeros((size, size, 4), np.uint8)
    pixels[..., 1] = 200  # green, where nothing is seen
    pixels[: size // 2, :, :] = (250, 10, 0, 0)
    pixels[: size // 2, :, 3] = np.linspace(255, 60, size).astype(np.uint8)
    image = Image.fromarray(pixels)
    return image if mode == "RGBA" else image.convert(mode)


def encoded(image, kind, **how):
    data = io.BytesIO()
    image.save(data, kind, **how)
    return data.getvalue()


@pytest.mark.parametrize(
    ("kind", "how"),
    [("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("TIFF", {})],
)
def test_opacity_is_kept_and_hidden_colours_are_not(kind, how):
    pixels = decode(encoded(icon(), kind, **how), recipe(16))
    assert pixels.shape == (4, 16, 16)
    wanted = np.asarray(icon()).transpose(2, 0, 1).copy()
    wanted[:3] *= wanted[3] > 0
    np.testing.assert_array_equal(pixels, wanted)
    assert not pixels[:3, 8:].any()


def test_a_transparent_colour_and_a_palette_and_grey_with_opacity():
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30] + [0] * 762)
    palette.paste(0, (0, 0, 4, 8))
    for data in (
        encoded(palette, "PNG", transparency=0),
        encoded(palette, "GIF", transparency=0),
    ):
        pixels = decode(data, recipe())
        np.testing.assert_array_equal(pixels[3, 0], [0] * 4 + [255] * 4)
        np.testing.assert_array_equal(pixels[:, 0, 7], [10, 20, 30, 255])
    grey = decode(encoded(icon().convert("LA"), "PNG"), recipe(16))
    assert (grey[0] == grey[2]).all()
    assert grey[3, 0, 0] == 255


def test_an_opaque_picture_is_opaque_and_padding_is_clear():
    wide = Image.new("RGB", (16, 8), (1, 2, 3))
    pixels = decode(encoded(wide, "PNG"), recipe(8))
    np.testing.assert_array_equal(pixels[3, :, 0], [0, 0, 255, 255, 255, 255, 0, 0])
    assert not pixels[:, 0].any()
    np.testing.assert_array_equal(pixels[:, 4, 4], [1, 2, 3, 255])
    assert (decode(encoded(wide, "JPEG"), recipe(8, "crop"))[3] == 255).all()


def test_hidden_colours_do_not_bleed_into_what_is_seen():
    image = np.zeros((16, 16, 4), np.uint8)
    image[..., 1] = 255
    image[:, :8] = (255, 0, 0, 255)
    pixels = decode(encoded(Image.fromarray(image), "PNG"), recipe(4))
    seen = pixels[3] > 0
    assert pixels[1][seen].max() <= 2  # no green, though the clear half is full of it
    assert pixels[0][seen].min() >= 250


def test_what_is_measured_is_colour_times_opacity_and_comes_back():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 4, 6, 7), dtype=np.uint8)
    seen = premultiplied(images)
    share = images[:, 3:].astype(float) / 255
    np.testing.assert_allclose(seen[:, :3], images[:, :3] * share, atol=0.51)
    np.testing.assert_array_equal(seen[:, 3], images[:, 3])
    back = straight(seen)
    known = np.broadcast_to(images[:, 3:] > 128, back[:, :3].shape)
    assert np.abs(back[:, :3].astype(int) - images[:, :3])[known].max() <= 2
    others = images[:, :3]
    assert premultiplied(others) is others
    assert straight(others) is others


def test_a_faint_picture_is_told_of_whatever_its_opacity():
    from monge.data.decode import decode_chunk

    faint = np.full((16, 16, 3), 100, np.uint8)
    faint[:8] = 104
    data = encoded(Image.fromarray(faint), "PNG")
    assert decode_chunk([data], recipe(16)).traits[0].dim


def test_on_grey_the_clear_is_grey_and_the_opaque_as_it_is():
    images = np.zeros((1, 4, 1, 2), np.uint8)
    images[0, :, 0, 1] = (10, 250, 30, 255)
    np.testing.assert_array_equal(on_grey(images)[0, :, 0, 0], [128] * 3)
    np.testing.assert_array_equal(on_grey(images)[0, :, 0, 1], [10, 250, 30])


def test_on_squares_the_opaque_is_as_it_is_and_the_clear_is_square():
    image = np.zeros((16, 16, 4), np.uint8)
    image[0, 0] = (9, 8, 7, 255)
    shown = on_checkers(image)
    np.testing.assert_array_equal(shown[0, 0], [9, 8, 7])
    assert set(map(tuple, shown[1:, 1:].reshape(-1, 3))) == {(255,) * 3, (204,) * 3}
    assert tile(np.stack([image] * 4)).shape[-1] == 3

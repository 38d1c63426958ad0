"""Protects: what the choices rest on is seen right in the images."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from monge.choosing.look import LOOKED_AT, look
from monge.data.encoded import Unreadable


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def items(*images):
    return [(None, each) for each in images]


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    channels = len(mode)
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, channels), np.uint8)
    return Image.fromarray(pixels.squeeze(), mode)


def test_sizes_are_those_of_the_shorter_side_as_it_is_on_disk():
    seen = look(items(*(encoded(noise(w, 40)) for w in (30, 50, 300))), 10**8)
    assert (seen.pictures, seen.looked_at, seen.side) == (3, 3, 40)
    assert seen.square == 0.0


def test_the_shape_is_the_one_that_is_seen_and_how_many_have_it():
    on_its_side = Image.Exif()
    on_its_side[0x0112] = 6
    file = io.BytesIO()
    noise(60, 40).save(file, "JPEG", exif=on_its_side)
    upright = [encoded(noise(40, 60)), encoded(noise(41, 60))]
    seen = look(items(*upright, file.getvalue(), encoded(noise(40, 40))), 10**8)
    assert seen.aspect == pytest.approx(2 / 3, rel=0.03)
    assert seen.alike == 0.75
    assert seen.side == 40


def test_grey_images_saved_in_colour_have_no_colours():
    grey = noise(20, 20, "L").convert("RGB")
    seen = look(items(encoded(grey), encoded(grey, "JPEG"), encoded(noise(20, 20))), 10**8)
    assert seen.colourless == pytest.approx(2 / 3)
    assert seen.square == 1.0


def test_what_is_around_an_image_is_seen():
    paper = Image.new("RGB", (50, 40), "#fffef8")
    ImageDraw.Draw(paper).ellipse((10, 10, 30, 30), outline="black")
    seen = look(items(encoded(paper), encoded(paper), encoded(noise(50, 40))), 10**8)
    assert seen.framed == pytest.approx(2 / 3)
    assert seen.frame == "#fffef8"


def test_transparent_images_are_told_and_their_hidden_colours_not_counted():
    icon = Image.new("RGBA", (32, 32), (255, 0, 0, 0))  # a colour that nobody sees
    ImageDraw.Draw(icon).rectangle((8, 8, 24, 24), fill=(20, 20, 20, 255))
    seen = look(items(encoded(icon)), 10**8)
    assert (seen.transparent, seen.colourless, seen.framed) == (1.0, 1.0, 1.0)
    assert seen.light == pytest.approx(20 / 255)


def test_what_cannot_be_read_is_passed_over():
    good = encoded(noise(16, 16))
    seen = look(
        items(b"no image", good, good[:60], Unreadable("gone"), encoded(noise(99, 99))), 999
    )
    assert (seen.pictures, seen.looked_at, seen.side) == (5, 1, 16)
    assert look(items(b"no image"), 10**8).looked_at == 0


@pytest.mark.parametrize("count", [1, LOOKED_AT, 2 * LOOKED_AT, 5 * LOOKED_AT + 7])
def test_a_large_set_is_looked_at_all_over(count: int):
    first, last = encoded(noise(10, 10, "L")), encoded(noise(30, 30, "L"))
    half = count // 2
    seen = look(items(*[first] * half, *[last] * (count - half)), 10**8)
    assert seen.pictures == count
    assert seen.looked_at <= 2 * LOOKED_AT
    assert seen.looked_at >= min(count, LOOKED_AT)
    both = look(items(*[first] * (count // 3), *[last] * (count - count // 3)), 10**8)
    assert both.side == 30

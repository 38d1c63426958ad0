"""Protects: what the images become suits them, the time and the machine, and the reason is said."""

from dataclasses import replace

import pytest

from monge import sizes
from monge.choosing.look import Look
from monge.choosing.packing import choices

PHOTOS = Look(
    pictures=5000, looked_at=400, side=500, colourless=0.02, transparent=0.0, square=0.3,
    framed=0.01, frame="#ffffff", light=0.45,
)  # fmt: skip


def chosen(look: Look, minutes: float = 10, *, gpu: bool = False) -> dict[str, object]:
    return {choice.key: choice.value for choice in choices(look, minutes, gpu=gpu)}


def test_photographs_on_a_processor_are_drawn_small_and_cropped():
    assert chosen(PHOTOS) == {
        "prepare.resolution": 32, "prepare.colour": "rgb", "prepare.fit": "crop",
        "prepare.background": "#000000",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("side", "minutes", "gpu", "drawn"),
    [
        (500, 10, False, 32), (500, 600, False, 64), (500, 10, True, 64), (500, 90, True, 128),
        (40, 600, False, 32), (64, 90, True, 64), (8, 10, False, 8), (5, 10, False, 8),
        (28, 10, False, 16),
    ],
)  # fmt: skip
def test_the_size_is_one_that_they_have_and_that_the_time_suffices_for(side, minutes, gpu, drawn):
    look = replace(PHOTOS, side=side)
    assert chosen(look, minutes, gpu=gpu)["prepare.resolution"] == drawn


POSTERS = replace(PHOTOS, square=0.0, aspect=2 / 3, alike=0.97)


@pytest.mark.parametrize(
    ("aspect", "side", "minutes", "gpu", "drawn"),
    [
        (2 / 3, 500, 10, False, "24x36"), (3 / 2, 500, 10, False, "36x24"),
        (16 / 9, 500, 10, False, "36x20"), (4 / 3, 500, 600, False, "64x48"),
        (2 / 3, 500, 90, True, "64x96"), (2 / 3, 20, 10, False, "12x18"),
        (3 / 4, 9, 10, False, 8), (1.1, 500, 10, False, 32),
    ],
)  # fmt: skip
def test_pictures_of_one_shape_keep_it(aspect, side, minutes, gpu, drawn):
    look = replace(POSTERS, aspect=aspect, side=side)
    assert chosen(look, minutes, gpu=gpu)["prepare.resolution"] == drawn
    if isinstance(drawn, str):  # at most as many pixels as the square, for all networks, and whole
        width, height = sizes.sides(drawn)
        square = chosen(replace(PHOTOS, side=side), minutes, gpu=gpu)["prepare.resolution"]
        assert width * height <= int(str(square)) ** 2
        assert all(sizes.draws(family, width, height) for family in sizes.LARGEST)
        assert 0.97 < width / height / aspect < 1.03
        assert 2 * width * height > int(str(square)) ** 2 or width > 60


def test_the_reason_names_the_shape_and_how_many_have_it():
    size, _, fit, _ = map(str, choices(POSTERS, 10, gpu=False))
    assert "97% of the images are 2:3, width to height; of 500 pixels: what a processor" in size
    assert "the images have this shape" in fit
    wide = replace(POSTERS, aspect=16 / 9)
    assert "are 16:9, width" in str(choices(wide, 10, gpu=False)[0])
    odd = replace(POSTERS, aspect=1.618)
    assert "are 13:8, width" in str(choices(odd, 10, gpu=False)[0])


def test_pictures_of_many_shapes_become_squares():
    assert chosen(replace(POSTERS, alike=0.8))["prepare.resolution"] == 32


def test_images_without_colours_are_grey():
    assert chosen(replace(PHOTOS, colourless=1.0))["prepare.colour"] == "grey"
    assert chosen(replace(PHOTOS, colourless=0.9))["prepare.colour"] == "rgb"


def test_icons_are_padded_on_a_ground_that_shows_them():
    icons = replace(PHOTOS, transparent=0.9, framed=1.0, frame="")
    assert chosen(icons)["prepare.colour"] == "rgba"
    assert chosen(replace(icons, transparent=0.4))["prepare.colour"] == "rgb"
    assert chosen(icons)["prepare.fit"] == "pad"
    assert chosen(icons)["prepare.background"] == "#ffffff"
    assert chosen(replace(icons, light=0.97))["prepare.background"] == "#000000"


def test_drawings_are_padded_with_their_own_paper():
    drawings = replace(PHOTOS, framed=0.9, frame="#fffef8")
    assert chosen(drawings)["prepare.fit"] == "pad"
    assert chosen(drawings)["prepare.background"] == "#fffef8"


def test_every_choice_has_its_reason():
    assert all(choice.reason for choice in choices(PHOTOS, 10, gpu=False))
    line = str(choices(PHOTOS, 10, gpu=False)[0])
    assert line.startswith("prepare.resolution")
    assert "of 500 pixels: what a processor draws well in 10 minutes; a GPU or four hours" in line

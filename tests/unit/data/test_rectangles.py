"""Protects: in pictures that are no squares width and height are never mixed up on their way.

Red grows from left to right and green from top to bottom, so that a picture says which is which.
"""

import io
import json

import numpy as np
import pytest
from PIL import Image

from monge.data.decode import Recipe, decode
from monge.data.fitted import recipe as fitted
from monge.data.packed import PackedDataset
from monge.data.prepare import prepare
from monge.params import PrepareParams

# What an orientation does to an upright picture, so that a viewer's turning brings it back.
STORED = {
    1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
}  # fmt: skip


def pixels(width, height, left=0.0, top=0.0, right=1.0, bottom=1.0):
    """The part of a picture at pixel centres: float [H, W, 3], red its x and green its y."""
    x = left + (np.arange(width) + 0.5) / width * (right - left)
    y = top + (np.arange(height) + 0.5) / height * (bottom - top)
    red, green = np.meshgrid(x, y)
    return np.stack([red, green, np.full_like(red, 0.5)], 2) * 255


def stored(width, height, kind="PNG", orientation=1):
    picture = Image.fromarray(np.rint(pixels(width, height)).astype(np.uint8))
    turn = STORED[orientation]
    picture = picture if turn is None else picture.transpose(turn)
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    how = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    picture.save(file, kind, exif=exif, **how)
    return file.getvalue()


def recipe(size, fit="crop", background="#000000"):
    return Recipe(size, "rgb", fit, background, 10**8)


def close(got, wanted, within):
    assert got.shape == (3, *wanted.shape[:2])
    # Lanczos bends a slope at its ends, where it has pixels on one side alone.
    inner = np.abs(got.transpose(1, 2, 0) - wanted)[1:-1, 1:-1]
    assert inner.max() <= within


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("orientation", list(STORED))
@pytest.mark.parametrize("size", ["24x16", "16x24"])
def test_the_middle_of_a_turned_picture_is_cropped_to_the_shape_asked_for(size, orientation, kind):
    """Large enough for a JPEG to be decoded at a fraction."""
    got = decode(stored(480, 400, kind, orientation), recipe(size))
    if size == "24x16":  # 480 x 320 of it
        wanted = pixels(24, 16, top=0.1, bottom=0.9)
    else:  # 267 x 400 of it
        wanted = pixels(16, 24, left=0.2222, right=0.7778)
    close(got, wanted, 3.0)


def test_a_picture_of_that_shape_and_size_stays_as_it_is():
    exact = np.rint(pixels(12, 20)).astype(np.uint8).transpose(2, 0, 1)
    for fit in ("crop", "pad"):
        np.testing.assert_array_equal(decode(stored(12, 20), recipe("12x20", fit)), exact)
    with pytest.raises(AssertionError):  # and the sides mixed up would be seen
        np.testing.assert_array_equal(decode(stored(12, 20), recipe("20x12")), exact)


@pytest.mark.parametrize(
    ("width", "height", "box"),
    [(40, 40, (4, 0, 16, 16)), (80, 20, (0, 5, 24, 6)), (30, 60, (8, 0, 8, 16))],
)
def test_what_is_padded_lies_whole_in_the_middle(width, height, box):
    """`box` is the left, the top, the width and the height of the picture in 24x16."""
    got = decode(stored(width, height), recipe("24x16", "pad", "#0000ff"))
    left, top, across, down = box
    inside = got[:, top : top + down, left : left + across]
    close(inside, pixels(across, down), 3.0)
    outside = np.ones((16, 24), bool)
    outside[top : top + down, left : left + across] = False
    assert (got[:, outside] == np.array([[0], [0], [255]])).all()


def test_pictures_are_packed_height_before_width_and_the_manifest_has_the_size(tmp_path):
    folder = tmp_path / "posters"
    folder.mkdir()
    for number in range(10):
        kind, orientation = ("PNG", 1) if number % 2 else ("JPEG", 6)
        data = stored(40 + number, 60, kind, orientation)
        (folder / f"{number}.{kind.lower()}").write_bytes(data)
    (folder / "banner.png").write_bytes(stored(300, 40))
    params = PrepareParams.model_validate(
        {"source": "folder", "path": "posters", "resolution": "16x24", "colour": "rgb",
         "workers": 1, "validation_fraction": 0.2}
    )  # fmt: skip
    dataset = prepare(params, tmp_path, tmp_path, tmp_path / "out")
    assert dataset.image_shape == (3, 24, 16)
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["params"]["resolution"] == "16x24"
    assert manifest["image_shape"] == [3, 24, 16]
    packed = PackedDataset.open(tmp_path / "out")
    images = packed.train.take(np.arange(len(packed.train))).astype(int)
    assert images.shape[1:] == (3, 24, 16)
    assert (np.diff(images[:, 0], axis=2) > 0).mean() > 0.95  # red grows to the right
    assert (np.diff(images[:, 1], axis=1) > 0).mean() > 0.95  # green grows downwards
    assert np.abs(np.diff(images[:, 0], axis=1)).max() < 6
    (remark,) = manifest["remarks"]
    told = "1 of 11 images (banner.png) is over 8 times as long as wide, or as wide as long, beside"
    assert remark.startswith(f"{told} 16x24, of which fit: crop keeps less than an eighth")


def test_a_long_picture_is_nothing_odd_where_it_is_packed_as_long(tmp_path):
    folder = tmp_path / "banners"
    folder.mkdir()
    for number in range(10):
        (folder / f"{number}.png").write_bytes(stored(360, 40 + number % 2))
    params = PrepareParams.model_validate(
        {"source": "folder", "path": "banners", "resolution": "72x8", "colour": "rgb", "workers": 1}
    )
    assert prepare(params, tmp_path, tmp_path, tmp_path / "out").manifest["remarks"] == []


def test_an_encoders_contract_gives_the_same_pixels_as_the_packing():
    for size, shape in (("24x16", (16, 24, 3)), ("12x20", (20, 12, 3)), (16, (16, 16, 3))):
        assert fitted(shape, {}, 10**8) == recipe(size)

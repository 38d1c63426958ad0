"""Protects: a JPEG that was cut off is refused, however it was closed, and a whole one never is."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from monge.data.decode import Recipe, decode
from monge.data.encoded import RejectedError
from monge.data.packed import PackedDataset
from monge.data.prepare import prepare
from monge.errors import SourceError
from monge.params import PrepareParams

RNG = np.random.default_rng(4)
RECIPE = Recipe(16, "rgb", "crop", "#000000", 10**8)
END = b"\xff\xd9"
KINDS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "4:4:4": {"subsampling": 0},
    "restarts": {"restart_marker_blocks": 3},
    "optimised": {"optimize": True},
    "progressive": {"progressive": True},
    "progressive with restarts": {"progressive": True, "restart_marker_blocks": 3},
}
MODES = ("L", "RGB", "CMYK")


def picture(mode: str, width: int, height: int) -> Image.Image:
    """A picture with content everywhere, of no grey."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    small = RNG.integers(0, 256, (12, 12, bands), dtype=np.uint8)
    image = Image.fromarray(small[..., 0] if bands == 1 else small, mode)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def stored(image: Image.Image, **how: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **how)
    return file.getvalue()


def closed(data: bytes, share: float) -> bytes:
    """The first part of a file, closed: all headers, and a share of what follows them."""
    begin = data.index(b"\xff\xda") + 14
    return data[: int(begin + share * (len(data) - begin))].rstrip(b"\xff") + END


def refused(data: bytes) -> bool:
    try:
        decode(data, RECIPE)
    except (RejectedError, OSError):  # Pillow notices some of them itself
        return True
    return False


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", KINDS.values(), ids=KINDS)
def test_a_jpeg_closed_after_a_cut_is_refused(how: dict[str, Any], mode: str) -> None:
    for width, height in ((16, 16), (64, 64), (50, 77), (300, 200)):
        data = stored(picture(mode, width, height), **how)
        assert not refused(data)
        for share in (0.1, 0.3, 0.5, 0.7):
            assert refused(closed(data, share)), (width, height, share)


def test_pillow_alone_takes_a_closed_one_or_there_would_be_no_need() -> None:
    data = closed(stored(picture("RGB", 300, 200)), 0.5)
    Image.open(io.BytesIO(data)).load()
    with pytest.raises(RejectedError, match="the JPEG is cut off: a part of the picture is"):
        decode(data, RECIPE)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", KINDS.values(), ids=KINDS)
def test_a_whole_one_is_taken_also_where_it_is_grey_or_has_more_behind_its_end(
    how: dict[str, Any], mode: str
) -> None:
    grey = Image.new(mode, (40, 40), 128 if mode == "L" else (128,) * len(mode))
    half = picture(mode, 40, 40)
    half.paste(grey, (0, 20))
    for image, width in itertools.product((grey, half, picture(mode, 40, 40)), (40, 33)):
        data = stored(image.resize((width, 40)), **how)
        for behind in (b"", bytes(100), b"a trailer" + END, data):
            assert not refused(data + behind)


def test_one_whose_end_never_arrived_is_refused() -> None:
    data = stored(picture("RGB", 300, 200))
    kept_place = data[: len(data) // 2] + bytes(len(data) - len(data) // 2)
    assert refused(kept_place)


def test_a_picture_decoded_at_a_fraction_is_looked_at_too() -> None:
    data = stored(picture("RGB", 1000, 1000))
    image = Image.open(io.BytesIO(data))
    image.draft(None, (64, 64))
    assert image.size == (125, 125), "this one is decoded at an eighth"
    assert not refused(data)
    assert refused(closed(data, 0.5))


def test_a_thumbnail_with_an_end_of_its_own_is_not_taken_for_the_pictures() -> None:
    exif = b"Exif\0\0" + stored(picture("RGB", 16, 16))
    data = stored(picture("RGB", 100, 100), exif=exif)
    assert not refused(data)
    begin = data.rindex(b"\xff\xda")
    assert begin > data.index(END)
    assert refused(data[: (begin + len(data)) // 2].rstrip(b"\xff") + END)


def test_prepare_names_the_file_and_may_be_told_to_go_on_without_it(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    for number in range(19):
        (tmp_path / f"raw/{number:02d}.jpg").write_bytes(stored(picture("RGB", 64, 64)))
    (tmp_path / "raw/cut.jpg").write_bytes(closed(stored(picture("RGB", 64, 64)), 0.5))

    def run(limit: float) -> PackedDataset:
        asked = PrepareParams(source="folder", path="raw", max_rejected_fraction=limit)
        return prepare(asked, tmp_path, tmp_path, tmp_path / "out")

    with pytest.raises(SourceError, match="1 of 20 images .* cut.jpg: the JPEG is cut off"):
        run(0.01)
    dataset = run(0.1)
    assert [entry["path"] for entry in dataset.manifest["rejected"]] == ["cut.jpg"]
    assert len(dataset.train) + len(dataset.validation) == 19

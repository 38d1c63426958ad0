"""Protects: images that are probably not what was meant are counted and told, with what to do."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monge.data.prepare import prepare
from monge.params import PrepareParams

RNG = np.random.default_rng(2)


def told(root: Path, caplog: pytest.LogCaptureFixture, **params: object) -> list[str]:
    """What `prepare` warns of; the manifest keeps the same sentences."""
    caplog.clear()
    asked = PrepareParams(source="folder", path="raw", **params)  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        dataset = prepare(asked, root, root, root / "out")
    said = [record.message.removeprefix("  look at    ") for record in caplog.records]
    assert dataset.manifest["remarks"] == said
    return said


def pictures(root: Path, name: str, numbers: np.ndarray) -> None:
    (root / "raw").mkdir(exist_ok=True)
    Image.fromarray(numbers).save(root / "raw" / name)


def ordinary(root: Path, count: int) -> None:
    for number in range(count):
        pixels = RNG.integers(0, 256, (16, 16), dtype=np.uint8)
        pixels[0, 0] = 0
        pictures(root, f"ordinary-{number}.png", pixels)


def test_ordinary_pictures_and_drawings_in_black_and_white_are_not_remarked_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ordinary(tmp_path, 4)
    drawing = np.full((16, 16), 255, np.uint8)
    drawing[7:9] = 0
    pictures(tmp_path, "drawing.png", drawing)
    pictures(tmp_path, "fine.png", RNG.integers(0, 256, (512, 512), dtype=np.uint8))  # grey at 8
    pictures(tmp_path, "deep.png", RNG.integers(0, 65536, (16, 16), dtype=np.uint16))
    assert told(tmp_path, caplog) == []


@pytest.mark.parametrize(
    ("top", "kind", "name", "white"),
    [
        (4096, np.uint16, "png", "4095"), (256, np.uint16, "png", "255"),
        (1000, np.uint16, "tif", "1023"), (256, np.int32, "tif", "255"),
        (16, np.uint8, "png", "15"), (2, np.uint8, "png", "1"), (4096, np.uint16, "tif", "4095"),
    ],
)  # fmt: skip
def test_numbers_far_below_white_are_counted_and_the_white_one_is_proposed(
    top: int, kind: type, name: str, white: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ordinary(tmp_path, 3)
    for number in range(5):
        pixels: np.ndarray = RNG.integers(0, top, (16, 16)).astype(kind)
        pixels[0, :2] = 0, top - 1
        pictures(tmp_path, f"a{number}.{name}", pixels)
    (said,) = told(tmp_path, caplog, resolution=16)
    assert said.startswith(f"5 of 8 images (a0.{name}, ...) are in under an eighth of the levels")
    assert f"prepare.levels={white} makes" in said
    assert told(tmp_path, caplog, resolution=16, levels=float(white)) == []
    assert told(tmp_path, caplog, resolution=16, levels="stretch") == []


def test_faint_but_light_pictures_are_counted_and_no_number_is_proposed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ordinary(tmp_path, 1)
    pictures(tmp_path, "faint.png", RNG.integers(200, 220, (16, 16), dtype=np.uint8))
    (said,) = told(tmp_path, caplog)
    assert said.startswith("1 of 2 images (faint.png) is in under an eighth of the levels")
    assert said.endswith("so dim: prepare.levels=stretch spreads each image's own darkest and "
                         "lightest")  # fmt: skip


def test_pictures_of_one_colour_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ordinary(tmp_path, 3)
    pictures(tmp_path, "empty.png", np.full((16, 16, 3), (9, 90, 200), np.uint8))
    (said,) = told(tmp_path, caplog, colour="rgb")
    assert said.startswith("1 of 4 images (empty.png) is of one colour: leave")


def test_strips_are_counted_and_told_what_would_be_left_of_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ordinary(tmp_path, 3)
    pictures(tmp_path, "strip.png", RNG.integers(0, 256, (5000, 1), dtype=np.uint8))
    pictures(tmp_path, "wide.png", RNG.integers(0, 256, (20, 161), dtype=np.uint8))
    pictures(tmp_path, "border.png", RNG.integers(0, 256, (20, 160), dtype=np.uint8))
    one_colour, strips = told(tmp_path, caplog)
    assert one_colour.startswith("1 of 6 images (strip.png) is of one colour")
    assert strips.startswith("2 of 6 images (strip.png, ...) are over 8 times as long as wide, of")
    assert strips.endswith("fit: crop keeps less than an eighth: set prepare.fit to pad, or cut "
                           "them into pieces")  # fmt: skip
    (strips,) = told(tmp_path, caplog, fit="pad")
    assert strips.endswith("fit: pad leaves a line: cut them into pieces")


def test_transparency_and_colours_that_are_lost_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ordinary(tmp_path, 4)
    opaque = RNG.integers(0, 256, (16, 16, 4), dtype=np.uint8)
    opaque[..., 3] = 255
    opaque[..., 1] = opaque[..., 2] = opaque[..., 0]
    pictures(tmp_path, "opaque-grey.png", opaque)
    opaque[4:, 4:, 3] = 254
    pictures(tmp_path, "see-through.png", opaque)
    red = np.zeros((16, 16, 3), np.uint8)
    red[:8] = 200, 20, 20
    pictures(tmp_path, "red.png", red)
    Image.fromarray(red).convert("P").save(tmp_path / "raw" / "red-palette.png")
    said = told(tmp_path, caplog, resolution=16, background="#102030")
    assert said == [
        "1 of 8 images (see-through.png) is transparent in parts: #102030 is put behind them, "
        "which is prepare.background; prepare.colour=rgba keeps them so",
        "2 of 8 images (red-palette.png, ...) are in colours and packed as grey: "
        "prepare.colour=rgb keeps them",
    ]
    said = told(tmp_path, caplog, resolution=16, colour="rgb")
    assert not any("colours" in sentence for sentence in said)


@pytest.mark.parametrize("kind", ["tif", "gif", "webp", "png"])
def test_frames_and_pages_behind_the_first_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    ordinary(tmp_path, 4)
    frames = [Image.fromarray(RNG.integers(0, 256, (16, 16), dtype=np.uint8)) for _ in range(3)]
    frames[0].save(tmp_path / "raw" / f"a.{kind}", save_all=True, append_images=frames[1:])
    (said,) = told(tmp_path, caplog)
    assert f"1 of 5 images (a.{kind}) is of several frames or pages, of which the first" in said
    frames[0].save(tmp_path / "raw" / f"a.{kind}")
    assert told(tmp_path, caplog) == []

"""Protects: a picture is drawn where a person looks, as their terminal can, and nowhere else."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monge import terminal


class Screen(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    path = tmp_path / "a picture.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize(
    ("environment", "way"),
    [
        ({"TERM": "xterm-256color"}, "blocks"), ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm", "TERM_PROGRAM": "iTerm.app"}, "iterm"), ({"TERM": "foot"}, "sixel"),
        ({"TERM": "dumb"}, "off"), ({}, "off"), ({"TERM": "xterm", "NO_COLOR": "1"}, "off"),
        ({"TERM": "xterm-kitty", "MONGE_PICTURES": "off"}, "off"),
        ({"TERM": "xterm", "MONGE_PICTURES": "sixel"}, "sixel"),
        ({"TERM": "xterm", "MONGE_PICTURES": "cinema"}, "blocks"),
    ],
)  # fmt: skip
def test_the_terminal_decides_unless_somebody_does(environment, way):
    assert terminal.way(Screen(), environment) == way


def test_a_file_gets_none():
    assert terminal.way(io.StringIO(), {"TERM": "xterm-kitty"}) == "off"


def drawn(picture, way, monkeypatch):
    monkeypatch.setenv(terminal.CHOICE, way)
    screen = Screen()
    terminal.show_named(f"12:00 | INFO | step 3 of 9: 40% …; samples in {picture}", screen)
    return screen.getvalue()


def test_blocks_are_two_pixels_each_and_the_colours_are_put_back(picture, monkeypatch):
    lines = drawn(picture, "blocks", monkeypatch).splitlines()
    assert len(lines) == 12  # 13 rows of 35 pixels at 64 columns are 24 rows, two a line
    for line in lines:
        assert line.endswith("\x1b[0m")
        assert len(re.findall("▀", line)) == 64
    first = re.match(r"\x1b\[38;2;(\d+);(\d+);(\d+);48;2;", lines[0])
    assert first


@pytest.mark.parametrize("way", ["kitty", "iterm"])
def test_a_png_goes_whole_to_who_takes_one(picture, way, monkeypatch):
    sent = drawn(picture, way, monkeypatch)
    data = "".join(re.findall(r"(?:;|:)([A-Za-z0-9+/=]{40,})", sent))
    with Image.open(io.BytesIO(base64.b64decode(data))) as back, Image.open(picture) as there:
        np.testing.assert_array_equal(np.asarray(back), np.asarray(there))
    if way == "kitty":
        assert sent.count("m=0;") == 1
        assert all(len(part) < 4200 for part in sent.split("\x1b\\"))


def test_sixels_give_the_picture_back(picture, monkeypatch):
    """Read by the letter of the protocol: registers, runs, `$` back, `-` down."""
    body = re.fullmatch(r"\x1bPq(.*)\x1b\\\n", drawn(picture, "sixel", monkeypatch), re.S)
    assert body
    colours = {int(n): (int(r), int(g), int(b)) for n, r, g, b in
               re.findall(r"#(\d+);2;(\d+);(\d+);(\d+)", body[1])}  # fmt: skip
    rest = re.sub(r"#\d+;2;\d+;\d+;\d+", "", body[1])
    canvas = np.zeros((54, 70, 3))
    for band, text in enumerate(rest.split("-")):
        for run in text.split("$"):
            ((number, cells),) = re.findall(r"\A#(\d+)([?-~]*)\Z", run)
            for x, cell in enumerate(cells):
                for bit in range(6):
                    if ord(cell) - 63 >> bit & 1:
                        canvas[6 * band + bit, x] = colours[int(number)]
    with Image.open(picture) as there:
        meant = np.asarray(there.convert("RGB").quantize(64).convert("RGB")) / 2.55
    np.testing.assert_allclose(canvas[:50], meant, atol=0.51)


def test_what_is_no_picture_is_passed_over(tmp_path, monkeypatch):
    damaged = tmp_path / "x.png"
    assert drawn(damaged, "blocks", monkeypatch) == ""
    damaged.write_bytes(b"no picture")
    assert drawn(damaged, "kitty", monkeypatch) == ""
    screen = Screen()
    terminal.show_named("step 3 of 9", screen)
    assert screen.getvalue() == ""

"""Protects: the numbers of a file become black and white as its format, or its owner, means them.

Files are written byte by byte here where Pillow does not write their kind.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from monge.data.decode import Recipe, decode
from monge.data.encoded import RejectedError

RAMP = np.arange(64).reshape(8, 8)
GROUND = 0x80


def recipe(levels: str | float = "full", colour: str = "grey", ground: str = "#808080") -> Recipe:
    return Recipe(8, colour, "crop", ground, 10**8, levels)


def tiff(raw: bytes, bits: int, photometric: int, kind: int = 1) -> bytes:
    """An 8 x 8 TIFF of one strip, little-endian (TIFF 6.0); `kind` is its SampleFormat."""
    tags = [(256, 4, 8), (257, 4, 8), (258, 3, bits), (259, 3, 1), (262, 3, photometric),
            (273, 4, 8), (277, 3, 1), (278, 4, 8), (279, 4, len(raw)), (339, 3, kind)]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, size, 1, value) for tag, size, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return struct.pack("<2sHI", b"II", 42, 8 + len(raw)) + raw + directory


def png(pixels: np.ndarray, bits: int, transparent: tuple[int, ...] | None = None) -> bytes:
    """A PNG of grey [8, 8] or colours [8, 8, 3], with any bits a number and a transparent one."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(
            ">I", zlib.crc32(kind + body)
        )  # fmt: skip

    if bits == 16:
        lines = [row.astype(">u2").tobytes() for row in pixels]
    else:
        spread = (pixels.reshape(8, -1)[..., None] >> np.arange(bits)[::-1]) & 1
        lines = [np.packbits(row.ravel()).tobytes() for row in spread]
    header = struct.pack(">IIBBBBB", 8, 8, bits, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    see = b"" if transparent is None else chunk(
        b"tRNS", b"".join(struct.pack(">H", number) for number in transparent)
    )  # fmt: skip
    body = zlib.compress(b"".join(b"\0" + line for line in lines))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + see + chunk(b"IDAT", body)
            + chunk(b"IEND", b""))  # fmt: skip


def stored(image: Image.Image, kind: str = "PNG", **how: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def test_a_tiff_of_16_bits_whose_white_is_zero_is_as_meant() -> None:
    numbers = RAMP * 1000
    inverted = tiff((65535 - numbers).astype("<u2").tobytes(), 16, 0)
    np.testing.assert_array_equal(decode(inverted, recipe())[0], numbers // 256)
    plain = tiff(numbers.astype("<u2").tobytes(), 16, 1)
    np.testing.assert_array_equal(decode(plain, recipe())[0], numbers // 256)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_so_is_one_of_fewer_bits(bits: int) -> None:
    numbers = RAMP % 2**bits
    raw = stored_bits(2**bits - 1 - numbers, bits)
    wanted = numbers * 255 // (2**bits - 1)
    np.testing.assert_array_equal(decode(tiff(raw, bits, 0), recipe())[0], wanted)


def stored_bits(numbers: np.ndarray, bits: int) -> bytes:
    spread = (numbers[..., None] >> np.arange(bits)[::-1]) & 1
    return np.packbits(spread.reshape(8, -1).astype(np.uint8), axis=1).tobytes()


def test_and_one_of_floats() -> None:
    numbers = (RAMP / 63).astype("<f4")
    inverted = tiff((1 - numbers).tobytes(), 32, 0, kind=3)
    np.testing.assert_allclose(decode(inverted, recipe())[0], 255 * numbers, atol=0.51)


def test_twelve_bits_have_their_own_white() -> None:
    numbers = RAMP * 65
    pairs = numbers.reshape(-1, 2)
    raw = np.stack(
        [pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], -1
    )
    got = decode(tiff(raw.astype(np.uint8).tobytes(), 12, 1), recipe())
    np.testing.assert_array_equal(got[0], numbers // 16)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_grey_of_a_png_is_in_the_bits_of_its_pixels(bits: int) -> None:
    top = 2**bits - 1
    numbers = RAMP * 1000 if bits == 16 else RAMP % 2**bits
    clear = int(numbers[0, 1])
    wanted = numbers // 256 if bits == 16 else numbers * 255 // top
    opaque = decode(png(numbers, bits), recipe())
    np.testing.assert_array_equal(opaque[0], wanted)
    wanted = np.where(numbers == clear, GROUND, wanted)
    got = decode(png(numbers, bits, (clear,)), recipe())
    np.testing.assert_array_equal(got[0], wanted)
    assert (got == GROUND).sum() >= (numbers == clear).sum() > 0


def test_a_transparent_grey_is_exact_in_16_bits_where_the_high_byte_alone_is_not() -> None:
    numbers = np.where(RAMP < 32, 5 * 256, 5 * 256 + 1)
    got = decode(png(numbers, 16, (5 * 256,)), recipe())
    np.testing.assert_array_equal(got[0], np.where(RAMP < 32, GROUND, 5))


@pytest.mark.parametrize("bits", [8, 16])
def test_a_transparent_colour_becomes_the_background(bits: int) -> None:
    steps = 257 if bits == 16 else 1
    numbers = np.stack([RAMP, RAMP * 2, 255 - RAMP], -1) * steps
    clear = tuple(int(number) for number in numbers[3, 4])
    got = decode(png(numbers, bits, clear), recipe(colour="rgb"))
    wanted = np.stack([RAMP, RAMP * 2, 255 - RAMP], 0)
    wanted[:, 3, 4] = GROUND
    np.testing.assert_array_equal(got, wanted)


def test_premultiplied_grey_keeps_its_alpha() -> None:
    alpha = np.where(RAMP < 32, 0, 255).astype(np.uint8)
    made = Image.fromarray(np.dstack([np.where(RAMP < 32, 0, RAMP).astype(np.uint8), alpha]), "LA")
    data = stored(made, "TIFF")
    directory = data.index(struct.pack("<HHI", 338, 3, 1)) + 8  # ExtraSamples: 2 to 1
    data = data[:directory] + struct.pack("<H", 1) + data[directory + 2 :]
    assert Image.open(io.BytesIO(data)).mode == "La"
    np.testing.assert_array_equal(decode(data, recipe())[0], np.where(RAMP < 32, GROUND, RAMP))


LEVELS = [
    ("uint16 of 0..4095", png(RAMP * 65, 16), 4095, RAMP * 65),
    ("uint16 of 0..255", png(RAMP * 4, 16), 255, RAMP * 4),
    ("int32 of 0..255", stored(Image.fromarray((RAMP * 4).astype("i4")), "TIFF"), 255, RAMP * 4),
    ("int32 of 0..10^6", stored(Image.fromarray((RAMP * 9999).astype("i4")), "TIFF"), 10**6,
     RAMP * 9999),
    ("float of 0..255", stored(Image.fromarray((RAMP * 4).astype("f4")), "TIFF"), 255, RAMP * 4),
    ("uint8 of 0..15", stored(Image.fromarray((RAMP % 16).astype("u1"))), 15, RAMP % 16),
    ("4 bits", png(RAMP % 16, 4), 7, RAMP % 16),
]  # fmt: skip


@pytest.mark.parametrize(("data", "white", "numbers"), [row[1:] for row in LEVELS],
                         ids=[row[0] for row in LEVELS])  # fmt: skip
def test_the_number_that_is_white_is_the_one_that_is_given(
    data: bytes, white: float, numbers: np.ndarray
) -> None:
    wanted = 255 * np.clip(numbers / white, 0, 1)
    np.testing.assert_allclose(decode(data, recipe(white))[0], wanted, atol=0.51)
    stretched = decode(data, recipe("stretch"))[0]
    np.testing.assert_allclose(stretched, 255 * numbers / numbers.max(), atol=0.51)


def test_colours_of_16_bits_are_scaled_by_their_high_byte() -> None:
    numbers = np.stack([RAMP * 65, RAMP * 32, RAMP * 16], -1)
    got = decode(png(numbers, 16), recipe(4095, colour="rgb")).transpose(1, 2, 0)
    np.testing.assert_allclose(got, 255 * (numbers // 256 * 256) / 4095, atol=0.51)


def test_a_number_that_an_images_bits_cannot_hold_is_meant_for_others() -> None:
    data = stored(Image.fromarray((RAMP * 4).astype("u1")))
    np.testing.assert_array_equal(decode(data, recipe(4095))[0], RAMP * 4)


def test_levels_are_of_the_image_and_not_of_what_lies_behind_it() -> None:
    alpha = np.where(RAMP < 32, 0, 255)
    pixels = np.dstack([RAMP, RAMP, RAMP, alpha]).astype(np.uint8)
    got = decode(stored(Image.fromarray(pixels)), recipe("stretch"))[0]
    np.testing.assert_allclose(got, np.where(RAMP < 32, GROUND, 255 * RAMP / 63), atol=1)


def test_stretching_moves_all_colours_alike_and_leaves_one_grey_as_it_is() -> None:
    pixels = np.stack([100 + RAMP, 110 + RAMP // 2, np.full((8, 8), 105)], -1)
    got = decode(stored(Image.fromarray(pixels.astype("u1"))), recipe("stretch", "rgb"))
    np.testing.assert_allclose(got.transpose(1, 2, 0), 255 * (pixels - 100) / 63, atol=0.51)
    one = stored(Image.new("RGB", (8, 8), "#404040"))
    assert decode(one, recipe("stretch", "rgb"))[:, 0, 0].tolist() == [0x40] * 3


@pytest.mark.parametrize("kind", ["i4", "f4"])
def test_a_scale_that_is_not_known_is_refused_with_the_key_that_gives_it(kind: str) -> None:
    data = stored(Image.fromarray((RAMP * 9999).astype(kind)), "TIFF")
    with pytest.raises(RejectedError, match="set prepare.levels to stretch, or to the number"):
        decode(data, recipe())

"""Every kind of pixel becomes what the table in decode.py says, by arithmetic done here."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from monge.data.decode import Recipe, decode, decode_chunk
from monge.data.encoded import RejectedError

RNG = np.random.default_rng(1)
RGB = RNG.integers(0, 256, (4, 4, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (4, 4), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (4, 4), dtype=np.uint8)
BACKGROUND = np.array([0x20, 0x80, 0xE0])


def recipe(
    colour: str = "rgb", size: int = 4, fit: str = "crop", max_pixels: int = 10**8
) -> Recipe:
    return Recipe(size, colour, fit, "#2080e0", max_pixels)


def stored(image: Image.Image, kind: str = "PNG", **how: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def luma(rgb: np.ndarray) -> np.ndarray:
    """ITU-R BT.601 in float64."""
    return np.asarray(rgb, np.float64) @ [0.299, 0.587, 0.114]


def over(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return rgb * share + BACKGROUND * (1 - share)


def close(got: np.ndarray, wanted: np.ndarray, within: float = 0) -> None:
    """`wanted` is [H, W] or [H, W, C], `got` [C, H, W]."""
    wanted = np.atleast_3d(wanted).transpose(2, 0, 1).astype(np.float64)
    assert got.shape == wanted.shape
    assert got.dtype == np.uint8
    np.testing.assert_allclose(got.astype(np.float64), wanted, atol=within, rtol=0)


def test_rgb_is_kept_exactly_and_becomes_grey_by_luma() -> None:
    data = stored(Image.fromarray(RGB))
    close(decode(data, recipe()), RGB)
    close(decode(data, recipe("grey")), luma(RGB), 0.51)


def test_grey_is_kept_exactly_and_becomes_three_equal_channels() -> None:
    data = stored(Image.fromarray(GREY))
    close(decode(data, recipe("grey")), GREY)
    close(decode(data, recipe()), np.stack([GREY] * 3, -1))


def test_one_bit_becomes_black_and_white() -> None:
    bits = RNG.integers(0, 2, (4, 4)).astype(bool)
    close(decode(stored(Image.fromarray(bits)), recipe("grey")), bits * 255)


def test_alpha_is_composited_over_the_background() -> None:
    data = stored(Image.fromarray(np.dstack([RGB, ALPHA])))
    close(decode(data, recipe()), over(RGB, ALPHA), 1)
    close(decode(data, recipe("grey")), luma(over(RGB, ALPHA)), 1.5)


def test_grey_with_alpha_is_composited_too() -> None:
    data = stored(Image.fromarray(np.dstack([GREY, ALPHA])))
    close(decode(data, recipe()), over(np.stack([GREY] * 3, -1), ALPHA), 1)


@pytest.mark.parametrize("opaque", [True, False])
def test_palette_gives_its_colours_and_its_transparent_entry_the_background(opaque: bool) -> None:
    indices = np.arange(16, dtype=np.uint8).reshape(4, 4)
    palette = RNG.integers(0, 256, (16, 3), dtype=np.uint8)
    image = Image.fromarray(indices, "L")
    image.putpalette(palette.tobytes())
    wanted = palette[indices].astype(float)
    how: dict[str, Any] = {} if opaque else {"transparency": 5}
    if not opaque:
        wanted[indices == 5] = BACKGROUND
    close(decode(stored(image, **how), recipe()), wanted)


def test_a_transparent_colour_without_alpha_becomes_the_background() -> None:
    wanted = RGB.astype(float)
    wanted[1, 2] = BACKGROUND
    data = stored(Image.fromarray(RGB), transparency=tuple(int(v) for v in RGB[1, 2]))
    close(decode(data, recipe()), wanted)


def test_cmyk_becomes_rgb() -> None:
    cmyk = RNG.integers(0, 256, (4, 4, 4), dtype=np.uint8)
    data = stored(Image.fromarray(cmyk, "CMYK"), "TIFF")
    ink = cmyk.astype(float) / 255
    close(decode(data, recipe()), 255 * (1 - ink[..., :3]) * (1 - ink[..., 3:]), 1)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_keep_the_high_byte(kind: str) -> None:
    deep = RNG.integers(0, 65536, (4, 4), dtype=np.uint16)
    close(decode(stored(Image.fromarray(deep), kind), recipe("grey")), deep // 256)


def test_integers_keep_the_high_byte_of_sixteen_bits_and_are_refused_beyond() -> None:
    deep = RNG.integers(0, 65536, (4, 4), dtype=np.int32)
    close(decode(stored(Image.fromarray(deep), "TIFF"), recipe("grey")), deep // 256)
    for bad in (-1, 65536):
        deep[0, 0] = bad
        with pytest.raises(RejectedError, match=r"outside 0\.\.65535"):
            decode(stored(Image.fromarray(deep), "TIFF"), recipe())


def test_floats_of_unit_range_are_scaled_and_others_refused() -> None:
    real = RNG.random((4, 4)).astype(np.float32)
    close(decode(stored(Image.fromarray(real), "TIFF"), recipe("grey")), real * 255.0, 0.501)
    for bad in (-0.1, 1.5, float("nan"), float("inf")):
        real[0, 0] = bad
        with pytest.raises(RejectedError, match=r"outside 0\.\.1"):
            decode(stored(Image.fromarray(real), "TIFF"), recipe())


# What a viewer shows for each EXIF orientation of the stored pixels (EXIF 2.3, tag 0x0112).
SHOWN: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", SHOWN)
def test_orientation_is_applied_once(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = stored(Image.fromarray(RGB), kind, exif=exif)
    close(decode(data, recipe()), SHOWN[orientation](RGB))


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP"])
def test_the_first_frame_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("#ff0000", "#0000ff")]
    how = {"lossless": True} if kind == "WEBP" else {}
    data = stored(frames[0], kind, save_all=True, append_images=frames[1:], **how)
    close(decode(data, recipe()), np.broadcast_to([255.0, 0, 0], (4, 4, 3)))


@pytest.mark.parametrize(("height", "width"), [(4, 9), (8, 4), (7, 4), (4, 4)])
def test_crop_takes_the_centre_square(height: int, width: int) -> None:
    pixels = RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)
    top, left = (height - 4) // 2, (width - 4) // 2
    close(decode(stored(Image.fromarray(pixels)), recipe()), pixels[top : top + 4, left : left + 4])


@pytest.mark.parametrize("colour", ["rgb", "grey"])
@pytest.mark.parametrize("upright", [False, True])
def test_pad_centres_on_the_background(colour: str, upright: bool) -> None:
    pixels = np.full((2, 4, 3), 200, np.uint8)
    wanted = np.broadcast_to(BACKGROUND, (4, 4, 3)).astype(float)
    wanted[1:3] = 200
    if upright:
        pixels, wanted = pixels.swapaxes(0, 1), wanted.swapaxes(0, 1)
    data = stored(Image.fromarray(np.ascontiguousarray(pixels)))
    got = decode(data, recipe(colour, fit="pad"))
    close(got, wanted if colour == "rgb" else luma(wanted), 0 if colour == "rgb" else 0.51)


def test_pad_keeps_a_hair_line_visible() -> None:
    assert decode(stored(Image.new("L", (1, 500), 255)), recipe("grey", fit="pad")).max() > 128


def lanczos(signal: np.ndarray, size: int) -> np.ndarray:
    """Lanczos-3 stretched by the reduction (antialiasing), normalised, along the last axis."""
    scale = signal.shape[-1] / size
    stretch = max(scale, 1.0)
    centres = (np.arange(size) + 0.5) * scale
    distance = (np.arange(signal.shape[-1]) + 0.5 - centres[:, None]) / stretch
    weights = np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0)
    return signal @ (weights / weights.sum(1, keepdims=True)).T


@pytest.mark.parametrize("side", [12, 18, 3])
def test_resizing_is_antialiased_lanczos(side: int) -> None:
    # Mid-tones, so that overshoot does not meet the ends of the range between the two passes.
    pixels = RNG.integers(100, 156, (side, side), dtype=np.uint8)
    wanted = lanczos(lanczos(pixels.astype(float), 4).T, 4).T
    close(decode(stored(Image.fromarray(pixels)), recipe("grey")), wanted, 1.01)


def test_a_fine_chequerboard_becomes_even_grey_not_moire() -> None:
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    got = decode(stored(Image.fromarray(board)), recipe("grey", size=8)).astype(int)
    assert np.abs(got - 127.5).max() < 12


def test_a_large_jpeg_decoded_at_a_fraction_stays_close_to_the_whole() -> None:
    smooth = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    big = Image.fromarray(smooth).resize((640, 640), Image.Resampling.BICUBIC)
    data = stored(big, "JPEG", quality=95)
    whole = np.asarray(Image.open(io.BytesIO(data)).resize((16, 16), Image.Resampling.LANCZOS))
    close(decode(data, recipe(size=16)), whole, 3)


def test_max_pixels_is_read_from_the_header_and_exact() -> None:
    data = stored(Image.new("L", (20, 10)))
    decode(data, recipe(max_pixels=200))
    with pytest.raises(
        RejectedError, match=r"20 x 10 pixels are over the limit 199 \(prepare.max_pixels\)"
    ):
        decode(data, recipe(max_pixels=199))


def test_a_chunk_keeps_its_good_images_and_tells_each_bad_one_apart() -> None:
    good = stored(Image.fromarray(RGB))
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n"
    bomb = stored(Image.new("1", (3000, 3000)))
    chunk = [good, b"", good[:60], b"hello", postscript, bomb, good]
    decoded = decode_chunk(list(chunk), recipe(max_pixels=10_000))
    assert decoded.images.shape == (2, 3, 4, 4)
    close(decoded.images[1], RGB)
    assert [reason is None for reason in decoded.reasons] == [True, *[False] * 5, True]
    assert decoded.reasons[1] == "the file is empty"
    unread = "not an image of a format that is read"
    assert decoded.reasons[3] == unread
    assert decoded.reasons[4] == f"{unread}, but PostScript: convert it to PNG or JPEG"
    assert decoded.reasons[5] == "more pixels than the limit 10000 (prepare.max_pixels)"
    assert decode_chunk(list(chunk), recipe(max_pixels=10_000)).reasons == decoded.reasons


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC image: convert it to PNG or JPEG"),
        (b"\xff\x0a\0", "a JPEG XL image"), (b"<svg xmlns=''/>", "an SVG drawing"),
        (b'<?xml version="1.0"?><!-- --><svg/>', "an SVG drawing"),
        (b"<!doctype HTML><title>404</title>", "a web page, as a server gives it"),
        (b"version https://git-lfs.github.com/spec/v1", "a pointer of Git LFS: `git lfs pull`"),
        (b"\0\0\0\x18ftypqt  ", "a video"), (b"%PDF-1.4", "a PDF"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_image_is_called_by_what_it_is(content: bytes, told: str) -> None:
    (reason,) = decode_chunk([content + bytes(64)], recipe()).reasons
    assert reason is not None
    assert f"not an image of a format that is read, but {told}" in reason


def test_pillows_own_limit_is_put_back() -> None:
    before = Image.MAX_IMAGE_PIXELS
    decode_chunk([b"hello"], recipe(max_pixels=5))
    assert before == Image.MAX_IMAGE_PIXELS

"""Sets of images such as people have, to try the one line with: icons, drawings, photographs.

    python -m benchmarks.sets icons FOLDER            4,000 flat icons with transparency, 48 pixels
    python -m benchmarks.sets drawings FILE.zip       3,000 line drawings in nested folders, zipped
    python -m benchmarks.sets photographs ARCHIVE FOLDER   5,000 of an archive's JPEGs, as a folder

The first two are drawn here, the same every time; the third takes every tenth training image of a
tar such as CIFAR-10's (`train/<class>/<name>.jpg`).
"""

from __future__ import annotations

import argparse
import io
import math
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

ICONS, ICON_SIDE = 4000, 48
DRAWINGS, DRAWING_SIDE = 3000, 96
FINER = 4
"""Everything is drawn so many times as large and then made smaller, which smooths its edges."""

Draw = Callable[[ImageDraw.ImageDraw, np.random.Generator, float], None]


def icons() -> Iterator[tuple[str, Image.Image]]:
    """Yield names and RGBA icons: a badge, and a symbol of another colour on it."""
    rng = np.random.default_rng(1)
    for index in range(ICONS):
        kind = list(SYMBOLS)[index % len(SYMBOLS)]
        yield f"{kind}/{index:04d}.png", _icon(SYMBOLS[kind], rng)


def _icon(symbol: Draw, rng: np.random.Generator) -> Image.Image:
    side = ICON_SIDE * FINER
    image = Image.new("RGBA", (side, side))
    draw = ImageDraw.Draw(image)
    hue = int(rng.integers(256))
    badge, ink = _colour(hue, rng), _colour(hue + int(rng.integers(90, 166)), rng)
    edge = side * rng.uniform(0.03, 0.1)
    if rng.random() < 0.5:
        draw.ellipse((edge, edge, side - edge, side - edge), fill=badge)
    else:
        box = (edge, edge, side - edge, side - edge)
        draw.rounded_rectangle(box, side * rng.uniform(0.1, 0.25), fill=badge)
    layer = Image.new("L", (side, side))
    symbol(ImageDraw.Draw(layer), rng, side)
    layer = layer.rotate(float(rng.uniform(-15, 15)), Image.Resampling.BICUBIC)
    image.paste(Image.new("RGBA", (side, side), ink), mask=layer)
    return image.resize((ICON_SIDE, ICON_SIDE), Image.Resampling.LANCZOS)


def _colour(hue: int, rng: np.random.Generator) -> tuple[int, int, int]:
    hsv = (hue % 256, int(rng.integers(150, 230)), int(rng.integers(170, 250)))
    red, green, blue = Image.new("HSV", (1, 1), hsv).convert("RGB").tobytes()
    return red, green, blue


def _star(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: float) -> None:
    outer, inner = side * rng.uniform(0.25, 0.34), side * rng.uniform(0.1, 0.15)
    points = [
        (side / 2 + r * math.sin(k * math.pi / 5), side / 2 - r * math.cos(k * math.pi / 5))
        for k in range(10)
        for r in [outer if k % 2 == 0 else inner]
    ]
    draw.polygon(points, fill=255)


def _heart(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: float) -> None:
    size = side * rng.uniform(0.016, 0.02)
    turns = np.linspace(0, 2 * math.pi, 100)
    x = 16 * np.sin(turns) ** 3
    y = 13 * np.cos(turns) - 5 * np.cos(2 * turns) - 2 * np.cos(3 * turns) - np.cos(4 * turns)
    draw.polygon([(side / 2 + size * a, side / 2 - size * b) for a, b in zip(x, y)], fill=255)  # noqa: B905


def _plus(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: float) -> None:
    long, thick = side * rng.uniform(0.24, 0.32), side * rng.uniform(0.06, 0.1)
    middle = side / 2
    draw.rectangle((middle - long, middle - thick, middle + long, middle + thick), fill=255)
    draw.rectangle((middle - thick, middle - long, middle + thick, middle + long), fill=255)


def _arrow(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: float) -> None:
    long, wide = side * rng.uniform(0.24, 0.32), side * rng.uniform(0.16, 0.24)
    shaft = wide * rng.uniform(0.35, 0.5)
    middle = side / 2
    draw.polygon(
        [(middle, middle - long), (middle - wide, middle), (middle + wide, middle)], fill=255
    )
    draw.rectangle((middle - shaft, middle, middle + shaft, middle + long), fill=255)


def _ring(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: float) -> None:
    radius, middle = side * rng.uniform(0.2, 0.3), side / 2
    box = (middle - radius, middle - radius, middle + radius, middle + radius)
    draw.ellipse(box, outline=255, width=round(side * rng.uniform(0.06, 0.1)))


SYMBOLS: dict[str, Draw] = {
    "arrow": _arrow, "heart": _heart, "plus": _plus, "ring": _ring, "star": _star,
}  # fmt: skip


def drawings() -> Iterator[tuple[str, Image.Image]]:
    """Yield names, three folders deep, and grey drawings: dark lines on white paper."""
    rng = np.random.default_rng(2)
    for index in range(DRAWINGS):
        kind = list(THINGS)[index % len(THINGS)]
        side = DRAWING_SIDE * FINER // 2
        image = Image.new("L", (side, side), 255)
        THINGS[kind](ImageDraw.Draw(image), rng, side)
        small = image.resize((DRAWING_SIDE, DRAWING_SIDE), Image.Resampling.LANCZOS)
        yield f"sketch book/page {index // 100:02d}/{kind}/{index:04d}.png", small


def _house(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: float) -> None:
    wide, tall = side * rng.uniform(0.3, 0.42), side * rng.uniform(0.2, 0.35)
    roof, pen = side * rng.uniform(0.12, 0.28), _pen(rng, side)
    left, right, ground = side / 2 - wide, side / 2 + wide, side * 0.9
    _line(draw, [(left, ground), (left, ground - tall), (side / 2, ground - tall - roof),
                 (right, ground - tall), (right, ground), (left, ground)], pen)  # fmt: skip
    _line(draw, [(left, ground - tall), (right, ground - tall)], pen)
    door, lintel = left + 2 * wide * rng.uniform(0.15, 0.6), ground - tall * 0.6
    _line(draw, [(door, ground), (door, lintel), (door + wide * 0.4, lintel),
                 (door + wide * 0.4, ground)], pen)  # fmt: skip


def _flower(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: float) -> None:
    centre, petals = side * rng.uniform(0.28, 0.4), int(rng.integers(5, 9))
    radius, pen = side * rng.uniform(0.08, 0.13), _pen(rng, side)
    lean = side * rng.uniform(-0.12, 0.12)
    for k in range(petals):
        turn = 2 * math.pi * k / petals
        x, y = side / 2 + 1.6 * radius * math.cos(turn), centre + 1.6 * radius * math.sin(turn)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=0, width=pen)
    small = radius * 0.7
    draw.ellipse(
        (side / 2 - small, centre - small, side / 2 + small, centre + small), outline=0, width=pen
    )
    _line(draw, [(side / 2, centre + 2.6 * radius), (side / 2 + lean, side * 0.95)], pen)


def _face(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: float) -> None:
    radius, pen = side * rng.uniform(0.32, 0.44), _pen(rng, side)
    middle = side / 2
    draw.ellipse(
        (middle - radius, middle - radius, middle + radius, middle + radius), outline=0, width=pen
    )
    for way in (-1, 1):
        x, y, eye = (
            middle + way * radius * 0.4,
            middle - radius * 0.25,
            radius * rng.uniform(0.08, 0.16),
        )
        draw.ellipse((x - eye, y - eye, x + eye, y + eye), outline=0, width=pen)
    mouth, smiles = radius * rng.uniform(0.35, 0.6), rng.random() < 0.7
    box = (middle - mouth, middle + radius * 0.05, middle + mouth, middle + radius * 0.7)
    draw.arc(box, 20 if smiles else 200, 160 if smiles else 340, fill=0, width=pen)


def _pen(rng: np.random.Generator, side: float) -> int:
    return max(2, round(side * rng.uniform(0.02, 0.035)))


def _line(draw: ImageDraw.ImageDraw, points: list[tuple[float, float]], pen: int) -> None:
    draw.line(points, fill=0, width=pen, joint="curve")


THINGS: dict[str, Draw] = {"face": _face, "flower": _flower, "house": _house}


def photographs(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every tenth training image of a tar: its class and name, and its bytes as they are."""
    with tarfile.open(archive) as tar:
        seen = 0
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            if file is None or "train/" not in member.name:
                continue
            if seen % 10 == 0:
                yield "/".join(member.name.split("/")[-2:]), file.read()
            seen += 1


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _into_folder(images: Iterator[tuple[str, bytes]], folder: Path) -> None:
    for name, encoded in images:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded)


def main() -> None:
    """Make one of the sets."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("which", choices=["icons", "drawings", "photographs"])
    parser.add_argument("places", nargs="+", type=Path)
    asked = parser.parse_args()
    target: Path = asked.places[-1]
    if asked.which == "icons":
        _into_folder(((name, _png(image)) for name, image in icons()), target)
    elif asked.which == "photographs":
        _into_folder(photographs(asked.places[0]), target)
    else:
        with zipfile.ZipFile(target, "w") as file:
            for name, image in drawings():
                file.writestr(name, _png(image))


if __name__ == "__main__":
    main()

"""A picture in a terminal: as its own protocol draws it, or in small blocks of colour elsewhere.

MONGE_PICTURES says how: `off`, `blocks`, `kitty`, `iterm`, `sixel`; else what the terminal says of
itself decides, and where no person looks (a file, a pipe) there is none.
"""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from PIL.Image import Image

CHOICE = "MONGE_PICTURES"
WAYS = ("off", "blocks", "kitty", "iterm", "sixel")

_NAMED = re.compile(r"samples in (.+\.png)$")
_COLUMNS = 64
_KITTY_CHUNK = 4096
_SIXEL_COLOURS = 64


def way(stream: TextIO, environment: Mapping[str, str] = os.environ) -> str:
    """Choose how to draw a picture there, one of WAYS."""
    asked = environment.get(CHOICE, "").lower()
    if asked in WAYS:
        return asked
    term, program = environment.get("TERM", "dumb"), environment.get("TERM_PROGRAM", "")
    if not stream.isatty() or term == "dumb" or environment.get("NO_COLOR"):
        return "off"
    if "kitty" in term or "KITTY_WINDOW_ID" in environment or program == "ghostty":
        return "kitty"
    if program in ("iTerm.app", "WezTerm") or environment.get("LC_TERMINAL") == "iTerm2":
        return "iterm"
    return "sixel" if term.startswith(("foot", "mlterm", "yaft", "contour")) else "blocks"


def show(path: Path, stream: TextIO) -> None:
    """Draw a picture file, if the terminal can; one that cannot be read is passed over."""
    chosen = way(stream)
    if chosen == "off":
        return
    from PIL import Image

    try:
        with Image.open(path) as file:
            picture = file.convert("RGB")
    except OSError:
        return
    stream.write(_DRAWN[chosen](picture))
    stream.flush()


def show_named(line: str, stream: TextIO) -> None:
    """Draw the picture that a line of a training's log names at its end."""
    if found := _NAMED.search(line):
        show(Path(found[1]), stream)


def blocks(picture: Image) -> str:
    """Draw the upper left part of a grid: each character is two pixels, one above the other."""
    part = picture.crop((0, 0, -(-picture.width // 2), -(-picture.height // 4)))
    height = max(2, round(part.height * _COLUMNS / part.width / 2) * 2)
    small = part.resize((_COLUMNS, height)).tobytes()
    rows = [small[start : start + 3 * _COLUMNS] for start in range(0, len(small), 3 * _COLUMNS)]
    lines = []
    for upper, lower in zip(rows[::2], rows[1::2], strict=True):
        cells = [
            f"\x1b[38;2;{';'.join(map(str, upper[at : at + 3]))};"
            f"48;2;{';'.join(map(str, lower[at : at + 3]))}m▀"
            for at in range(0, 3 * _COLUMNS, 3)
        ]
        lines.append("".join(cells) + "\x1b[0m\n")
    return "".join(lines)


def kitty(picture: Image) -> str:
    """Draw by Kitty's graphics protocol: a PNG in base64, in chunks."""
    data = _png(picture)
    chunks = [data[at : at + _KITTY_CHUNK] for at in range(0, len(data), _KITTY_CHUNK)]
    sent = []
    for place, chunk in enumerate(chunks):
        more = int(place < len(chunks) - 1)
        keys = f"a=T,f=100,q=2,m={more}" if place == 0 else f"m={more}"
        sent.append(f"\x1b_G{keys};{chunk}\x1b\\")
    return "".join(sent) + "\n"


def iterm(picture: Image) -> str:
    """Draw by iTerm2's inline images."""
    return f"\x1b]1337;File=inline=1;width={_COLUMNS}:{_png(picture)}\x07\n"


def sixel(picture: Image) -> str:
    """Draw by DEC's sixels: bands of six rows, a run of characters for each colour in a band."""
    few = picture.quantize(_SIXEL_COLOURS)
    palette = few.getpalette() or []
    used = [palette[at : at + 3] for at in range(0, 3 * _SIXEL_COLOURS, 3)]
    registers = "".join(
        f"#{number};2;{';'.join(str(round(value / 2.55)) for value in colour)}"
        for number, colour in enumerate(used)
        if colour
    )
    pixels, width = few.tobytes(), picture.width
    rows = [pixels[at : at + width] for at in range(0, len(pixels), width)]
    bands = [_band(rows[top : top + 6]) for top in range(0, len(rows), 6)]
    return f"\x1bPq{registers}{'-'.join(bands)}\x1b\\\n"


def _band(rows: list[bytes]) -> str:
    """Six rows (the last band may have fewer): for each of their colours which pixels have it."""

    def of_colour(number: int) -> Iterator[str]:
        for column in zip(*rows, strict=True):
            yield chr(63 + sum(1 << bit for bit, value in enumerate(column) if value == number))

    colours = sorted(set(b"".join(rows)))
    return "$".join(f"#{number}{''.join(of_colour(number))}" for number in colours)


def _png(picture: Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")


_DRAWN = {"blocks": blocks, "kitty": kitty, "iterm": iterm, "sixel": sixel}

"""Chooses what the images become: size, colour, fit to a square, and what is behind them."""

from __future__ import annotations

from monge import sizes
from monge.choosing.choice import Choice
from monge.choosing.look import Look

SIDES = (8, 16, 32, 64, 128)
"""The sides of squares, in pixels."""

_ALL_BUT_A_FEW = 0.9
"""The share of the images from which on they are of one shape."""

_NO_SQUARE = 1.2
"""From so many times as long as wide on, a square would cut or pad much of a picture."""

_PIXELS_COUNT = 1 / 8
"""Twice the pixels are worth a twelfth of a picture: the power of their number that counts."""

_FULL_SIZE_MINUTES = 240.0
"""From so many minutes of a processor on, 64 pixels are worth their time."""

_CUT_OUT = 0.5
"""The share of the images from which on what is transparent is a part of the picture."""

_NEARLY_WHITE = 0.85
"""Images that are lighter than this would not be seen on white."""


def choices(look: Look, minutes: float, *, gpu: bool) -> list[Choice]:
    """Choose every parameter of `prepare` that can be chosen."""
    size = _resolution(look, minutes, gpu=gpu)
    return [size, _colour(look), *_fit(look, size.value)]


def _resolution(look: Look, minutes: float, *, gpu: bool) -> Choice:
    most = 64 if gpu or minutes >= _FULL_SIZE_MINUTES else 32
    if gpu and minutes >= 60:
        most = 128
    fits = [side for side in SIDES if side <= max(look.side, SIDES[0])]
    side = min(fits[-1], most)
    if side < fits[-1]:
        where = "a GPU" if gpu else "a processor"
        well = f"what {where} draws well in {minutes:.0f} minutes"
        reason = f"of {look.side} pixels: {well}{_more(gpu, fits[-1])}"
    else:
        reason = f"the images have {look.side} pixels a side"
    longer = max(look.aspect, 1 / look.aspect)
    if look.alike >= _ALL_BUT_A_FEW and longer >= _NO_SQUARE:
        shape = f"{look.alike:.0%} of the images are {_ratio(look.aspect)}, width to height"
        reason = reason.replace("a side", "on the shorter side")
        return Choice("prepare.resolution", _rectangle(look, side), f"{shape}; {reason}")
    return Choice("prepare.resolution", side, reason)


def _rectangle(look: Look, side: int) -> int | str:
    """A size near the images' shape that has no more pixels than a square of this side.

    Of those that all networks draw, and whose shorter side the images have, it is the one that
    keeps most of a picture, where more pixels make up for a little.
    """

    def worth(size: tuple[int, int]) -> float:
        across, down = size
        ratio = across / down / look.aspect
        return float(min(ratio, 1 / ratio) * (across * down) ** _PIXELS_COUNT)

    most = max(look.side, SIDES[0])
    fitting = [
        (across, down)
        for across, down in sizes.possible(min(sizes.LARGEST.values()))
        if across * down <= side**2 and min(across, down) <= most
    ]
    return sizes.written(*max(fitting, key=worth))


def _ratio(aspect: float) -> str:
    """A shape as people write it: 3:2, 9:16; else with two digits."""
    for down in range(1, 17):
        across = round(aspect * down)
        if across and abs(across / down / aspect - 1) < 0.01:
            return f"{across}:{down}"
    return f"{aspect:.2f}:1"


def _more(gpu: bool, side: int) -> str:
    """Say what more time or another machine would add."""
    if gpu:
        return f"; an hour is enough for {min(side, 128)}"
    return f"; a GPU or four hours are enough for {min(side, 64)}"


def _colour(look: Look) -> Choice:
    if look.transparent >= _CUT_OUT:
        share = f"{look.transparent:.0%} of the images are transparent in parts"
        return Choice("prepare.colour", "rgba", share)
    if look.colourless >= 0.99:
        return Choice("prepare.colour", "grey", "the images have no colours")
    return Choice("prepare.colour", "rgb", f"{1 - look.colourless:.0%} of the images have colours")


def _fit(look: Look, size: int | str) -> list[Choice]:
    """Pad what has one colour around it anyway; crop what is a view of something larger."""
    if look.transparent >= _CUT_OUT:
        white = look.light < _NEARLY_WHITE
        ground = Choice(
            "prepare.background", "#ffffff" if white else "#000000",
            "behind transparent pixels where they are not kept"
            + ("" if white else ", for the images are nearly white"),
        )  # fmt: skip
        return [Choice("prepare.fit", "pad", "nothing of an icon is cut off"), ground]
    if look.framed >= 0.5 and look.frame:
        return [
            Choice("prepare.fit", "pad", "the images lie on one colour, so nothing is cut off"),
            Choice("prepare.background", look.frame, "the colour around most of them"),
        ]
    why = (
        "the images have this shape, nearly or quite" if isinstance(size, str)
        else "the images are square" if look.square >= 0.9
        else f"the middle of the {1 - look.square:.0%} that are not square"
    )  # fmt: skip
    ground = Choice("prepare.background", "#000000", "nothing is padded")
    return [Choice("prepare.fit", "crop", why), ground]

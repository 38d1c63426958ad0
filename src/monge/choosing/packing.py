"""What the images become: size, colour, what happens to what is not square, and what is behind."""

from __future__ import annotations

from monge.choosing.choice import Choice
from monge.choosing.look import Look

SIDES = (8, 16, 32, 64, 128)
"""What dcgan draws, in pixels."""

_FULL_SIZE_MINUTES = 240.0
"""From so many minutes of a processor on, 64 pixels are worth their time."""

_CUT_OUT = 0.5
"""Of this share of the images on, what is transparent is a part of the picture."""

_NEARLY_WHITE = 0.85
"""Images that are lighter than this would not be seen on white."""


def choices(look: Look, minutes: float, *, gpu: bool) -> list[Choice]:
    """Choose every parameter of `prepare` that can be chosen."""
    return [
        _resolution(look, minutes, gpu=gpu), _colour(look), *_fit(look),
    ]  # fmt: skip


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
    return Choice("prepare.resolution", side, reason)


def _more(gpu: bool, side: int) -> str:
    """What more time or another machine would add."""
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


def _fit(look: Look) -> list[Choice]:
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
        "the images are square" if look.square >= 0.9
        else f"the middle of the {1 - look.square:.0%} that are not square"
    )  # fmt: skip
    ground = Choice("prepare.background", "#000000", "nothing is padded")
    return [Choice("prepare.fit", "crop", why), ground]

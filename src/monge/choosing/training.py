"""Chooses how to train on packed images in so many minutes of this machine.

The settings and their limits come from `benchmarks/quality.py`; docs/reference/methods.md has the
figures under "What you have, what to take".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from monge import sizes
from monge.alpha import COLOURS
from monge.choosing.choice import Choice
from monge.choosing.settings import SETTINGS
from monge.durations import duration

FEW_IMAGES = 2000
"""Below so many training images `ada` is taken. It paid with 500; how far up was not measured."""

_CLASSES, _OF_A_CLASS = 100, 100
"""Images of a class are asked for where there are at most so many, each of at least so many."""

_LEARNED_FROM = 20
"""Training images of each class that the feature classifier asks for."""

_ENOUGH = 4000
"""Iterations that a wider network must be given to be better than a narrower one."""

_CONVOLUTIONS = 16
"""The shorter side in pixels from which on dcgan is better than mlp."""

_CRITIC_NORM = "train.dcgan.critic_norm"
_RATE_OF_PAIRS = "train.rpgan.learning_rate"
_NARROW, _SHALLOW = 32, 32
"""Features of dcgan, and pixels, up to which rpgan learns well at its higher rate."""

_PAIRED = 64
"""Pixels up to which rpgan was tried on photographs with classes, and was ahead."""

_PRECISION = "train.precision"
_QUICKER = 0.87
"""The share of float32's time below which bf16 is taken: it learns as well (methods.md)."""

_FEATURES = "train.dcgan.features"
_WIDTHS = (64, 32, 16, 8)
_TIMED_AT = 16
"""Features at which the precisions are compared: the usual width of minutes on a processor."""

_LEAST_STEPS, _MOST_STEPS = 200, 200_000


@dataclass(frozen=True)
class Images:
    """The packed training images: how many, [C, H, W], and how many of each class."""

    count: int
    shape: tuple[int, int, int]
    of_a_class: tuple[int, ...] = ()


Timed = Callable[[Mapping[str, object]], float]
"""Seconds of an iteration with these parameters of `train`, by their dotted keys."""


def choices(
    images: Images, seconds: float, timed: Timed, fixed: dict[str, object], *, gpu: bool = False
) -> list[Choice]:
    """Choose every parameter of training and judging, for a training of so many seconds.

    `fixed` has those that somebody chose already, which the others are chosen to suit.
    `gpu`: `train.precision: auto` knows of a GPU what it can.
    """
    chosen = [_net(images), _conditional(images), _augment(images)]
    values = {choice.key: choice.value for choice in chosen} | fixed
    side = max(images.shape[1:])
    chosen += _method(values, side)
    values |= {choice.key: choice.value for choice in chosen} | fixed
    chosen.append(_precision(values, timed, gpu=gpu))
    values = {_PRECISION: chosen[-1].value} | values
    width, each_s = _width(values, seconds, timed)
    steps = _rounded(seconds / each_s)
    values = {width.key: width.value} | values
    chosen += [width, Choice("train.steps", steps, f"{_each(each_s)} here: {duration(seconds)}")]
    chosen += [*_looks(fixed.get("train.steps", steps)), _judged_by(images)]
    instead = _rate_of_pairs(values, side)
    return [one for one in chosen if one.key not in {each.key for each in instead}] + instead


def _net(images: Images) -> Choice:
    channels, height, width = images.shape
    large, drawn = min(height, width) >= _CONVOLUTIONS, sizes.draws("dcgan", width, height)
    why = f"{width}x{height} pixels, {COLOURS[channels]}"
    if large and not drawn:
        near = " or ".join(
            f"{across}x{down}"
            for across, down in sizes.nearest(width, height, sizes.LARGEST["dcgan"])
        )
        why += f", which dcgan does not draw: prepare.resolution {near} would be for it"
    return Choice("train.net", "dcgan" if large and drawn else "mlp", why)


def _method(values: Mapping[str, object], side: int) -> list[Choice]:
    """The named settings for these images, without what was chosen before them."""
    name = _named(values, side)
    taken = values.get("train.objective", SETTINGS[name]["objective"])
    settings = SETTINGS[_with_method(name, taken)]
    used = f"the soonest good of those measured for {name.replace('-', ' ')}"

    def choice(key: str, value: object) -> Choice:
        of, _, inner = key.partition(".")
        unused = values["train.net"] if of in sizes.LARGEST else taken
        known = not inner or of in (taken, values["train.net"])
        return Choice(f"train.{key}", value, used if known else f"not used by {unused}")

    chosen_before = ("net", "conditional", "augment")
    return [choice(key, value) for key, value in settings.items() if key not in chosen_before]


def _named(values: Mapping[str, object], side: int) -> str:
    """The name of the settings for these images (`SETTINGS`)."""
    if values["train.net"] == "mlp":
        return "small-pictures"
    if values["train.augment"] != "none":
        return "few-pictures"
    pairs = values["train.conditional"] and values.get(_CRITIC_NORM) in (None, "none")
    return "pictures-in-classes" if pairs and side <= _PAIRED else "pictures"


def _with_method(name: str, method: object) -> str:
    """The named settings of the same net with a method that somebody has set, if there are any."""
    settings = SETTINGS[name]
    alike = (each for each, keys in SETTINGS.items() if keys["net"] == settings["net"])
    others = (each for each in alike if SETTINGS[each]["objective"] == method)
    return name if settings["objective"] == method else next(others, name)


def _rate_of_pairs(values: Mapping[str, Any], side: int) -> list[Choice]:
    """The learning rate of rpgan where the named one is not for so wide or deep a network."""
    width = values[_FEATURES]
    pairs = (values["train.net"], values["train.objective"]) == ("dcgan", "rpgan")
    if not pairs or (width <= _NARROW and side <= _SHALLOW):
        return []
    return [Choice(_RATE_OF_PAIRS, 2e-3, f"for {width} features and {side} pixels")]


def _conditional(images: Images) -> Choice:
    counts = images.of_a_class
    if not counts:
        return Choice("train.conditional", False, "the images have no classes")
    if len(counts) > _CLASSES or min(counts) < _OF_A_CLASS:
        why = f"{len(counts)} classes, the smallest of {min(counts)} images: too few to draw one"
        return Choice("train.conditional", False, why)
    return Choice("train.conditional", True, f"{len(counts)} classes: one can be asked for")


def has_learnable(images: Images) -> bool:
    """Tell whether evaluation will train a classifier of the classes, for its features."""
    return bool(images.of_a_class) and min(images.of_a_class) >= _LEARNED_FROM


def _judged_by(images: Images) -> Choice:
    """The figure that decides, and whose features it is made of (benchmarks/judges.py)."""
    classifier = "a classifier of the classes"
    whose = classifier if has_learnable(images) else "the network that comes with monge"
    condition = {"metric": "frechet", "improvement": 2.0}
    return Choice("promote.conditions", [condition], f"on the features of {whose}")


def _augment(images: Images) -> Choice:
    if images.count < FEW_IMAGES:
        return Choice("train.augment", "ada", f"{images.count:,} images are soon known by heart")
    return Choice("train.augment", "none", f"{images.count:,} images are enough without")


def _precision(values: Mapping[str, object], timed: Timed, *, gpu: bool) -> Choice:
    """Take products of 8 bits where this processor is quicker with them, as those with AMX are."""
    if _PRECISION in values or gpu or values["train.net"] != "dcgan":
        return Choice(_PRECISION, "auto", "as the device is")
    common = {_FEATURES: _TIMED_AT, **values}
    plain_s, rounded_s = (timed({**common, _PRECISION: each}) for each in ("fp32", "bf16"))
    share = f"an iteration takes {rounded_s / plain_s:.2f} of float32's time here"
    return Choice(_PRECISION, "bf16" if rounded_s < _QUICKER * plain_s else "fp32", share)


def _width(values: Mapping[str, object], seconds: float, timed: Timed) -> tuple[Choice, float]:
    """The widest network that the time suffices for, and its seconds of an iteration."""
    if _FEATURES in values or values["train.net"] != "dcgan":
        return Choice(_FEATURES, 64, f"not used by {values['train.net']}"), timed(values)
    for width in _WIDTHS:
        each_s = timed({**values, _FEATURES: width})
        if seconds / each_s >= _ENOUGH:
            return Choice(
                _FEATURES, width, f"the widest with {_ENOUGH:,} iterations in the time"
            ), each_s
    return Choice(_FEATURES, width, f"the narrowest: {_each(each_s)}"), each_s


def _each(each_s: float) -> str:
    return f"{each_s * 1000:.1f} ms an iteration"


def _looks(steps: Any) -> list[Choice]:
    """Choose how often figures, pictures, quality and checkpoints come: alike in every length."""
    tenth = max(1, steps // 10)
    every = {"log": max(1, steps // 100), "grid": tenth, "quality": tenth, "checkpoint": tenth}
    return [
        Choice(f"train.{name}_every", value, f"of {steps} steps") for name, value in every.items()
    ]


def _rounded(steps: float) -> int:
    """Two digits are as true as the timing, and a multiple of ten gives even tenths."""
    bounded = int(min(max(steps, _LEAST_STEPS), _MOST_STEPS))
    unit: int = 10 ** (len(str(bounded)) - 2)
    return max(10, bounded // unit * unit // 10 * 10)

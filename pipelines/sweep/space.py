"""Reads what a sweep varies: `key=value,value,...` or `key=low..high`, with `:log` behind it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monge.errors import InputError, ParamsError
from monge.params import load, typed

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True)
class Range:
    """Every number between two, both included; `log` draws their logarithms evenly."""

    low: float
    high: float
    log: bool

    @property
    def whole(self) -> bool:
        """Tell whether whole numbers are meant: both ends are, as they were typed."""
        return isinstance(self.low, int) and isinstance(self.high, int)


_MOST_CHECKED = 256

Space = dict[str, "Range | tuple[Any, ...]"]


def parsed(texts: Sequence[str]) -> Space:
    """The space that somebody typed. Raises InputError."""
    if not texts:
        raise InputError("nothing to vary. Name a parameter: --vary train.latent_dim=16,32,64")
    space = dict(_parsed(text) for text in texts)
    if len(space) < len(texts):
        raise InputError("--vary names one parameter twice. Put all of its values into one.")
    return space


def check(space: Space, changes: Sequence[str], path: Path) -> None:
    """Lay values, and both ends of ranges, over the parameters. Raises ParamsError.

    A value is refused that is wrong whatever the others are; one that is wrong beside some of them
    makes a trial that fails.
    """
    ends = [
        [change(key, value) for value in ((v.low, v.high) if isinstance(v, Range) else v)]
        for key, v in space.items()
    ]
    right: set[str] = set()
    wrong: dict[str, ParamsError] = {}
    for point in itertools.islice(itertools.product(*ends), _MOST_CHECKED):
        try:
            load(path, [*changes, *point])
            right.update(point)
        except ParamsError as error:
            for value in point:
                wrong.setdefault(value, error)
    for value, why in wrong.items():
        if value not in right:
            raise why


def change(key: str, value: Any) -> str:
    """A value as `section.key=value`, as it is typed; drawn numbers to four digits."""
    if isinstance(value, bool):
        return f"{key}={str(value).lower()}"
    return f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"


def grid(space: Space) -> list[dict[str, Any]]:
    """Every combination, the last parameter turning quickest. Raises InputError for a range."""
    for key, varied in space.items():
        if isinstance(varied, Range):
            raise InputError(
                f"{key}: a grid has no ranges. List its values, as {key}={varied.low},"
                f"{varied.high}, or search at random."
            )
    keys, values = list(space), [list(varied) for varied in space.values()]  # type: ignore[arg-type]
    return [dict(zip(keys, point, strict=True)) for point in itertools.product(*values)]


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """The space in Optuna's words."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    found: dict[str, BaseDistribution] = {}
    for key, varied in space.items():
        if not isinstance(varied, Range):
            found[key] = CategoricalDistribution(varied)
        elif varied.whole:
            found[key] = IntDistribution(int(varied.low), int(varied.high), log=varied.log)
        else:
            found[key] = FloatDistribution(varied.low, varied.high, log=varied.log)
    return found


def _parsed(text: str) -> tuple[str, Range | tuple[Any, ...]]:
    key, equals, rest = (part.strip() for part in text.partition("="))
    if not equals or not key or not rest:
        raise InputError(
            f"--vary {text}: write section.key=value,value or section.key=low..high[:log]."
        )
    if ".." in rest:
        return key, _range(text, key, rest)
    values = tuple(typed(key, value.strip()) for value in rest.split(","))
    if len(set(map(repr, values))) < len(values):
        raise InputError(f"--vary {text}: a value stands there twice.")
    return key, values


def _range(text: str, key: str, rest: str) -> Range:
    ends, colon, how = rest.partition(":")
    if colon and how != "log":
        raise InputError(f"--vary {text}: after the colon there may be log, and nothing else.")
    low, high = (typed(key, end.strip()) for end in ends.split("..", 1))
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high))
    if not numbers or not math.isfinite(low) or not math.isfinite(high) or low >= high:
        raise InputError(f"--vary {text}: a range goes from a number to a larger one.")
    if colon and low <= 0:
        raise InputError(f"--vary {text}: logarithms need a range above 0.")
    return Range(low, high, bool(colon))

"""Puts a distance into words: where it lies between the baselines and the real pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from monge.errors import InputError
from monge.evaluation.baselines import BLURRED, MEAN, NOISE

Entry = Mapping[str, Any]

WORDS = ("noise", "colours", "shapes", "recognisable", "hard to tell apart")
"""From the farthest to the nearest; `word` defines them."""
RECOGNISABLE, HARD_TO_TELL = 1 / 4, 1 / 50
"""Up to these shares of the way from the real pictures to the nearest baseline, both squared."""
TIMES_REAL = 4.0
"""And up to so many times the real pictures' own, both squared: the way can be very long."""
TEXTURE = 1 / 20
"""Noise within this share of the way to the farthest baseline says that the data are textures."""
_MEANINGS = (
    "not nearer to the real pictures than noise of their spectrum",
    "nearer than noise, and not nearer than {nearest}",
    "nearer than {nearest}, and still over a quarter of the way off",
    "within a quarter of the way from the real pictures to {nearest}",
    "within four times the real pictures' own distance, and a fiftieth of the way to {nearest}",
)
_CALLED = {MEAN: "the mean picture", NOISE: "noise", BLURRED: "blurred ones"}
_LINEAR = ("wasserstein1_features", "wasserstein2_features", "sliced_wasserstein")
"""Distances that are no squares; squared, shares of theirs mean what the others' do."""


class Floor(NamedTuple):
    """Tells whether the deciding figure is nearer to the real pictures than all baselines."""

    holds: bool
    sentence: str


def word(name: str, entry: Entry) -> str | None:
    """One of WORDS for a figure's entry; None where it has no baselines or cannot tell.

    noise: not nearer to the real pictures than noise of their spectrum. colours: nearer than that,
    not nearer than every baseline. The others go by the share of the way from the held-out real
    pictures' own distance (0 where it is unknown) to the nearest baseline's: recognisable up to a
    quarter, hard to tell apart up to a fiftieth that is no more than TIMES_REAL their own. Where
    the real pictures are textures, noise is as near as they are and is no baseline; where another
    one is, the figure cannot tell. A figure that has no noise among its baselines calls noise what
    is farther than all of them.
    """
    baselines = entry.get("baselines")
    if not baselines:
        return None
    power = 2 if name.startswith(_LINEAR) else 1
    value, real = entry["value"] ** power, entry.get("floor", 0.0) ** power
    nearest = _nearest(entry)[1] ** power
    if nearest <= real:
        return None
    farthest = baselines.get(NOISE, max(baselines.values())) ** power
    if value >= max(farthest, nearest):
        return WORDS[0]
    share = (value - real) / (nearest - real)
    if share >= 1.0:
        return WORDS[1]
    if share > RECOGNISABLE:
        return WORDS[2]
    hard = share <= HARD_TO_TELL and (real <= 0.0 or value <= TIMES_REAL * real)
    return WORDS[4 if hard else 3]


def deciding(figures: Mapping[str, Entry], wanted: Iterable[str]) -> str:
    """Name the figure that the verdict goes by: the first wanted one that has baselines.

    Else it is the Fréchet distance. Raises InputError where that has none, of an older monge.
    """
    for name in (*wanted, "frechet", "fid"):
        if figures.get(name, {}).get("baselines"):
            return name
    raise InputError("the report has no baselines to compare with. Run `monge evaluate` again.")


def floor(figures: Mapping[str, Entry], wanted: Iterable[str]) -> Floor:
    """Compare the deciding figure with the nearest baseline's: what the gate asks beside the rest.

    Raises InputError where the report has no baselines.
    """
    name = deciding(figures, wanted)
    entry = figures[name]
    nearest, bound = _nearest(entry)
    if entry.get("floor", 0.0) >= bound:
        told = f"{name} calls {nearest} as near as real pictures ({bound:.3g}), so it cannot judge"
        return Floor(False, f"{told} here: name another figure in promote.conditions")
    holds = entry["value"] < bound
    both = f"than {nearest} ({entry['value']:.3g} against {bound:.3g})"
    if holds:
        return Floor(True, f"nearer to the real pictures {both}")
    return Floor(
        False, f"{name} is not nearer to the real pictures {both}, so it is registered only"
    )


def sentence(figures: Mapping[str, Entry], wanted: Iterable[str]) -> str:
    """The verdict in words, and the figures that define it; empty without baselines."""
    try:
        name = deciding(figures, wanted)
    except InputError:
        return ""
    entry = figures[name]
    nearest, bound = _nearest(entry)
    said = word(name, entry)
    real = f"{entry['floor']:.3g}" if "floor" in entry else "unknown"
    numbers = f"{name} {entry['value']:.3g}; real pictures {real}, {nearest} {bound:.3g}"
    if said is None:
        return f"No verdict: {name} calls {nearest} as near as real pictures ({numbers})."
    meaning = _MEANINGS[WORDS.index(said)].format(nearest=nearest)
    return f"{said.capitalize()}: {meaning} ({numbers})."


def disagreement(figures: Mapping[str, Entry]) -> str:
    """Name the distances that call the pictures near and those that call them far.

    Near is recognisable and better, far is colours and worse. Empty where not both are there.
    """
    said = {name: word(name, entry) for name, entry in figures.items()}
    near = [name for name, one in said.items() if one in WORDS[3:]]
    far = [name for name, one in said.items() if one in WORDS[:2]]
    if not near or not far:
        return ""
    return (
        f"The figures disagree. Near the real pictures, by {', '.join(near)}; no nearer than a "
        f"baseline, by {', '.join(far)}. Look at the pictures."
    )


def _nearest(entry: Entry) -> tuple[str, float]:
    """Find the nearest baseline's name, and its distance."""
    known, real = dict(entry["baselines"]), entry.get("floor", 0.0)
    if known.get(NOISE, np.inf) - real < TEXTURE * (max(known.values()) - real):
        del known[NOISE]
    name = min(known, key=known.__getitem__)
    return _CALLED[name], float(known[name])

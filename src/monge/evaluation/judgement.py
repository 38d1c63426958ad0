"""What a judgement holds: figures with their protocol, and what the pictures need."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Floats = NDArray[np.float64]
Better = Literal["lower", "higher", "neither"]


@dataclass(frozen=True)
class Figure:
    """A value and what is needed to trust and compare it.

    `noise` is the standard error of `value`; `floor` the same figure for held-out real images in
    the place of the generated ones, at the same sizes (None where it cannot be had). `neither`
    marks a figure that must not be optimised, and that no gate takes.
    """

    value: float
    noise: float
    floor: float | None
    better: Better
    protocol: Mapping[str, Any]

    @property
    def protocol_hash(self) -> str:
        """Equal for two figures exactly when they were measured alike, whatever the generator."""
        return str(self.protocol["protocol_hash"])


@dataclass(frozen=True)
class Neighbours:
    """Generated images and the training images nearest to each.

    uint8 [n, H, W, C] and [n, k, H, W, C]; distances [n, k], Euclidean on pixels in 0..1.
    """

    generated: Images
    found: Images
    distances: Floats


@dataclass(frozen=True)
class ClassShares:
    """Share of each class: among the generated images as classified, among the real as labelled."""

    names: Sequence[str]
    generated: Floats
    real: Floats


@dataclass(frozen=True)
class Judgement:
    """All figures by name, and uint8 [n, H, W, C] images to show."""

    figures: Mapping[str, Figure]
    samples: Images
    reals: Images
    neighbours: Neighbours
    classes: ClassShares | None


def sealed(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """Add a protocol's `protocol_hash`, which leaves out the generator."""
    compared = {key: value for key, value in protocol.items() if key != "generator_hash"}
    text = json.dumps(compared, sort_keys=True, allow_nan=False)
    return {**protocol, "protocol_hash": hashlib.sha256(text.encode()).hexdigest()}


def from_repeats(
    values: Sequence[float],
    floors: Sequence[float],
    better: Better,
    protocol: Mapping[str, Any],
) -> Figure:
    """Average over disjoint subsets; noise is the standard error, their deviation / √k."""
    value = float(np.mean(values))
    noise = float(np.std(values, ddof=1) / np.sqrt(len(values)))
    floor = float(np.mean(floors)) if len(floors) else None
    if not np.isfinite([value, noise, 0.0 if floor is None else floor]).all():
        raise ValueError(f"{protocol.get('figure')}: a figure is not finite: {values} {floors}")
    return Figure(value, noise, floor, better, sealed(protocol))

"""A judgement: figures with their protocol, and what the pictures need."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monge.evaluation.catalogue import CATALOGUE, Better

Images = NDArray[np.uint8]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Figure:
    """A value and what is needed to trust and compare it.

    `noise` is the standard error of `value`, and `interval` holds the true value with 95 %
    confidence; `floor` is the same figure for held-out real images in the place of the generated
    ones, at the same sizes (None where it cannot be had). `p_value`, where there is a test: how
    probable a value this far off is if the images were real ones. `baselines`, of a distance: the
    same figure for each of `monge.evaluation.baselines` in the place of the generated images.
    """

    value: float
    noise: float
    floor: float | None
    better: Better
    protocol: Mapping[str, Any]
    interval: tuple[float, float]
    p_value: float | None = None
    baselines: Mapping[str, float] | None = None

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
class Returned:
    """Results of a generator with an encoder: images, reconstructions, walks, and latents.

    uint8 [n, H, W, C] twice, uint8 [rows, steps, H, W, C], float32 [m, latent_dim] of held-out
    images and of the prior.
    """

    images: Images
    reconstructions: Images
    walks: Images
    posterior: NDArray[np.float32]
    prior: NDArray[np.float32]


@dataclass(frozen=True)
class Judgement:
    """All figures by name, and uint8 [n, H, W, C] images to show."""

    figures: Mapping[str, Figure]
    samples: Images
    reals: Images
    neighbours: Neighbours
    failures: Images
    classes: ClassShares | None
    returned: Returned | None = None


def sealed(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """Add a protocol's `protocol_hash`, which leaves out the generator."""
    compared = {key: value for key, value in protocol.items() if key != "generator_hash"}
    text = json.dumps(compared, sort_keys=True, allow_nan=False)
    return {**protocol, "protocol_hash": hashlib.sha256(text.encode()).hexdigest()}


def from_repeats(
    values: Sequence[float],
    floors: Sequence[float],
    protocol: Mapping[str, Any],
    p_value: float | None = None,
) -> Figure:
    """Average over disjoint subsets of equal size.

    The noise is the standard error, their deviation / √k, and the interval that of Student's t with
    k − 1 degrees of freedom. The protocol names the figure. Raises ValueError when one of the
    numbers is not finite.
    """
    return from_error(
        float(np.mean(values)),
        float(np.std(values, ddof=1) / np.sqrt(len(values))),
        len(values),
        float(np.mean(floors)) if len(floors) else None,
        protocol,
        p_value,
    )


def from_error(
    value: float,
    noise: float,
    repeats: int,
    floor: float | None,
    protocol: Mapping[str, Any],
    p_value: float | None = None,
) -> Figure:
    """Make a figure of a value and its standard error, which rests on so many repeats."""
    from scipy.special import stdtrit  # scipy.stats takes seconds to import

    name = protocol["figure"]
    if not np.isfinite([value, noise, 0.0 if floor is None else floor]).all():
        raise ValueError(f"{name}: a figure is not finite: {value} ± {noise}, floor {floor}")
    reach = float(stdtrit(repeats - 1, 0.975)) * noise
    better = CATALOGUE[name].better
    interval = (value - reach, value + reach)
    return Figure(value, noise, floor, better, sealed(protocol), interval, p_value)

"""The protocol of a method's watch: whoever watches a training asks this and nothing more.

None of it decides a weight. The method answers in its own words, and guards, curves, journal and
report know no method by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from monge.objectives.objective import Labels, Networks


@dataclass(frozen=True)
class Headline:
    """The reading that says how far a training has come."""

    name: str
    """Its name among the readings, and its column in history.csv."""

    title: str
    """The name of it in a sentence."""

    unit: str

    @property
    def label(self) -> str:
        """For an axis: `Wasserstein estimate (critic units)`."""
        return f"{self.title} ({self.unit})"


@dataclass(frozen=True)
class HeldOut:
    """Real images [n, C, H, W] that are never trained on, their labels, and latents [n, z]."""

    real: Tensor
    labels: Labels
    latents: Tensor


@dataclass(frozen=True)
class Trouble:
    """Something that was looked for in the figures of one step.

    `seen` says whether the figures show it, `sentence` what it is and what to change. One whose
    `size` doubles while it lasts may yet be well.
    """

    name: str
    seen: bool
    sentence: str
    size: float = 0.0


class Watch(Protocol):
    """Tells of a method's trainings."""

    headline: Headline

    rate: str
    """The learning rate's key and value: `train.wgan.learning_rate (5e-05)`."""

    collapse_remedy: str
    """The change to make, beside the learning rate, when all images are alike."""

    def measure(self, networks: Networks, held_out: HeldOut) -> dict[str, Tensor]:
        """Scalars beside an iteration's own readings, which stay on the device."""

    def troubles(
        self, figures: Mapping[str, float], image_shape: tuple[int, ...], patience: int
    ) -> Iterator[Trouble]:
        """List what the figures of a step are looked through for, found or not.

        `figures` are the readings, and the largest weight and gradient of each network by role
        (`critic_gradient`). A trouble that has been seen for `patience` steps is told.
        """

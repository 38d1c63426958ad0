"""Values of a method's own section that no training can have, and the sentences that say so."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from monge.params.nets import NET_SECTIONS
from monge.params.train import TrainParams


def _of_wgan(train: TrainParams) -> list[str]:
    section = NET_SECTIONS[train.net]
    norm = getattr(getattr(train, section), "critic_norm", "none")
    if train.wgan.clip or norm == "spectral":
        return []
    return [
        "train.wgan.clip: 0 leaves the critic without a bound on its slope. Set a clip, or "
        f"train.{section}.critic_norm: spectral."
    ]


def _of_gan(train: TrainParams) -> list[str]:
    problems, gan = [], train.gan
    if gan.loss == "hinge" and gan.label_smoothing:
        problems.append(
            "train.gan.label_smoothing: the hinge loss has no labels to smooth. Set it to 0, or "
            "train.gan.loss: non-saturating."
        )
    wholes = {"feature_matching": gan.feature_matching, "unroll_steps": gan.unroll_steps}
    for key, wanted in wholes.items():
        if wanted and train.accumulate * train.devices > 1:
            problems.append(
                f"train.gan.{key}: is a function of the batch as a whole, which cannot be summed "
                "up from its parts. Set train.accumulate: 1 and train.devices: 1."
            )
    return problems


IMPOSSIBLE: Mapping[str, Callable[[TrainParams], list[str]]] = {"wgan": _of_wgan, "gan": _of_gan}
"""From a method to its refusals, in sentences; most have none."""

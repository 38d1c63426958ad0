"""Objectives: what is minimised, which networks that takes, and how one iteration updates them."""

from __future__ import annotations

from collections.abc import Callable

from monge.objectives.gan import Gan, GanWatch
from monge.objectives.objective import Execution, Noise, Objective, Reals, conditioned
from monge.objectives.rpgan import RpGan, RpGanWatch
from monge.objectives.vae import Vae, VaeWatch
from monge.objectives.wae_gan import WaeGan, WaeGanWatch
from monge.objectives.wae_mmd import WaeMmd, WaeMmdWatch
from monge.objectives.watch import Watch
from monge.objectives.wgan import Wgan, WganWatch
from monge.objectives.wgan_gp import WganGp, WganGpWatch
from monge.params import TrainParams

__all__ = [
    "METHODS", "WATCHES", "Execution", "Noise", "Objective", "Reals", "Watch", "build",
    "conditioned", "watch_of",
]  # fmt: skip

METHODS: dict[str, Callable[[TrainParams, Execution], Objective]] = {
    "wgan": Wgan,
    "wgan-gp": WganGp,
    "gan": Gan,
    "rpgan": RpGan,
    "vae": Vae,
    "wae-mmd": WaeMmd,
    "wae-gan": WaeGan,
}
"""Each name of `train.objective`, and its method."""

WATCHES: dict[str, Callable[[TrainParams], Watch]] = {
    "wgan": WganWatch,
    "wgan-gp": WganGpWatch,
    "gan": GanWatch,
    "rpgan": RpGanWatch,
    "vae": VaeWatch,
    "wae-mmd": WaeMmdWatch,
    "wae-gan": WaeGanWatch,
}
"""The watches by the same names, one a method. They decide none of its weights."""


def build(train: TrainParams, how: Execution | None = None) -> Objective:
    """The objective that `train.objective` names."""
    return METHODS[train.objective](train, how or Execution(parts=train.accumulate))


def watch_of(train: TrainParams) -> Watch:
    """Build the watch of the method that `train.objective` names."""
    return WATCHES[train.objective](train)

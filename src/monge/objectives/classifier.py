"""The classifier's part of both losses, where a critic also says of which class an image is.

AC-GAN (Odena et al. 2017) as Gulrajani et al. 2017 have it for CIFAR-10: the critic learns the
classes from real images alone, and the generator is to make images of the class it was asked for.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch.nn.functional as F
from torch import Tensor

from monge.objectives.objective import Execution, Labels


@runtime_checkable
class Classifies(Protocol):
    """A critic with an output for each class."""

    def class_logits(self, images: Tensor) -> Tensor:
        """The logits [n, classes] of an image's class."""


def class_loss(critic: object, images: Tensor, labels: Labels, how: Execution) -> Tensor | None:
    """The cross entropy of the critic's classes, a scalar; None where it has none."""
    if labels is None or not isinstance(critic, Classifies):
        return None
    with how.fast():
        logits = critic.class_logits(images)
    return F.cross_entropy(logits.float(), labels)

"""Class labels in networks: what makes them conditional, and is not there without classes."""

from __future__ import annotations

import torch
from torch import Tensor


def joined(latents: Tensor, labels: Tensor | None, classes: int) -> Tensor:
    """Latents [n, z] and labels [n] to [n, z + classes], the label as a one-hot vector.

    Mirza and Osindero 2014, section 3.1. Without classes, the latents.
    """
    if not classes:
        return latents
    return torch.cat([latents, one_hot(labels, classes, latents.dtype)], 1)


def score(outputs: Tensor, labels: Tensor | None) -> Tensor:
    """A critic's last layer [n, 1 + classes] to scores [n]: what all labels share, and its own.

    Miyato and Koyama 2018, equation 3, with the last layer's weights as the embedded labels and
    nothing pooled before them. Without classes, [n, 1] is [n].
    """
    shared = outputs[:, 0]
    if outputs.shape[1] == 1:
        return shared
    own = outputs[:, 1:]
    return shared + (own * one_hot(labels, own.shape[1], own.dtype)).sum(1)


def one_hot(labels: Tensor | None, classes: int, dtype: torch.dtype) -> Tensor:
    """[n, classes]; by comparing, which a GPU can record and torch's meta device can follow."""
    if labels is None:
        raise ValueError(f"a network with {classes} labels was given none")
    return (labels[:, None] == torch.arange(classes, device=labels.device)).to(dtype)

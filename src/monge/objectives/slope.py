"""Measures how steep a critic is: the norm of its gradient by an image, between real and fake."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from monge.objectives.objective import Labels, conditioned


def interpolates(real: Tensor, fake: Tensor, position: Tensor) -> Tensor:
    """position * real + (1 - position) * fake, one position an image; [n, ...] and [n]."""
    position = position.view(-1, *[1] * (real.dim() - 1))
    return torch.lerp(fake, real, position)


def gradient_norms(critic: nn.Module, images: Tensor, labels: Labels = None) -> Tensor:
    """Euclidean norm of d critic / d image for each image, over all its values: [n].

    The graph is kept, so that a function of the norms can be differentiated by the weights.
    """
    images = images.detach().requires_grad_(True)
    scores = conditioned(critic, images, labels)
    (gradients,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    norms: Tensor = torch.linalg.vector_norm(gradients.flatten(1), dim=1)
    return norms

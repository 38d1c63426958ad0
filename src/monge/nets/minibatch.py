"""Minibatch discrimination: an opponent that sees how alike the images of a batch are.

Salimans et al. 2016, section 3.2. Of each image's features [k] come B rows of C numbers, by a
matrix that is trained; the closeness of two images by a row is exp(-L1 distance), and what is added
to an image's features is, for each row, the sum of its closeness to all others of the batch. A
generator that draws one image over and over is told apart by that alone. As in their code, and
other than in their equation, an image's closeness to itself, which is always 1, is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

ROW = 5
"""C, as in their code; B is a parameter."""


class MinibatchDiscrimination(nn.Module):
    """Features [n, k] to [n, k + B]. Real and generated images come in batches of their own."""

    def __init__(self, features: int, kernels: int) -> None:
        super().__init__()
        self.rows = nn.Linear(features, kernels * ROW, bias=False)
        self.kernels = kernels

    def forward(self, features: Tensor) -> Tensor:
        """The features with each kernel's sum of closeness behind them."""
        rows = self.rows(features).view(len(features), self.kernels, ROW)
        rows = rows.to(torch.promote_types(rows.dtype, torch.float32))  # near rows differ by little
        apart = (rows[:, None] - rows[None]).abs().sum(-1)  # [n, n, B]
        closeness = torch.exp(-apart).sum(1) - 1.0
        return torch.cat([features, closeness.to(features.dtype)], dim=1)

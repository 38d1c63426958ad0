"""Points of a plane that the papers try their critics on, as their codes make them.

Each draws n points, float32 [n, 2], with random numbers of its own seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

Draw = Callable[[int], Tensor]


def ring(radius: float, deviation: float, modes: int = 8) -> tuple[Tensor, Callable[[int], Draw]]:
    """Modes at equal angles, [modes, 2], and what draws from Gaussians around them, by a seed."""
    angles = 2.0 * math.pi * torch.arange(modes) / modes
    centres = radius * torch.stack([angles.cos(), angles.sin()], dim=1)
    return centres, lambda seed: around(centres, deviation, seed)


def square(step: float, deviation: float, side: int = 5) -> tuple[Tensor, Callable[[int], Draw]]:
    """The same on a square grid of side² modes around the origin."""
    along = step * (torch.arange(side) - (side - 1) / 2.0)
    centres = torch.cartesian_prod(along, along)
    return centres, lambda seed: around(centres, deviation, seed)


def around(centres: Tensor, deviation: float, seed: int) -> Draw:
    """Draws from Gaussians of one weight and one deviation around these centres."""
    dice = torch.Generator().manual_seed(seed)

    def draw(n: int) -> Tensor:
        which = torch.randint(len(centres), (n,), generator=dice)
        return centres[which] + deviation * torch.randn(n, 2, generator=dice)

    return draw


def swiss_roll(seed: int, scale: float = 7.5, noise: float = 0.25) -> Draw:
    """scikit-learn's roll seen from its end: the first and the last coordinate, made smaller."""
    from sklearn.datasets import make_swiss_roll

    dice = np.random.RandomState(seed)

    def draw(n: int) -> Tensor:
        points, _ = make_swiss_roll(n, noise=noise, random_state=dice)
        return torch.as_tensor(points[:, [0, 2]] / scale, dtype=torch.float32)

    return draw

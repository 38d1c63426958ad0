"""Few images: the opponent sees every image transformed at random, real and generated ones alike.

An opponent that sees the same images over and over learns them by heart. Transformed ones are
harder to, and as generated images are transformed in the same way, in both steps, the generator
gains nothing by drawing transformed ones itself (Zhao et al. 2020, DiffAugment; Karras et al. 2020,
ADA). The game is that of the transformed distributions: a penalty on the critic's slope is taken
there, too.

The transformations are DiffAugment's `color,translation,cutout`, on images in -1..1: brightness
+-0.5, saturation times 0 to 2, contrast times 0.5 to 1.5, a translation of up to 1/8 with zeros
coming in, and a square of half the size set to zero; of images with an opacity, to clear. Each is
applied with a chance of its own draw: always (`diffaugment`), or with a chance that follows how
much the opponent overfits (`ada`).
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn

from monge.objectives.objective import Noise

DRAWS = 12
"""Uniform numbers an image: seven strengths and places, then whether each of five is applied."""

_OPERATIONS = 5


def views(noise: Noise, n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The draws [n, 12] and the chances [n] for n real images, and the same for n fake ones."""
    chance = noise.chance.expand(n)
    return noise.uniform(n, DRAWS), chance, noise.uniform(n, DRAWS), chance


def transformed(images: Tensor, draws: Tensor, chance: Tensor) -> Tensor:
    """Images [n, C, H, W] as the opponent sees them, by draws [n, 12] and chances [n].

    Differentiable, and in the draws' precision. No number is read from the device.
    """
    applied = (draws[:, -_OPERATIONS:] < chance[:, None]).to(draws.dtype)
    # Shapes alone, on the meta device, have no precision to be kept.
    with nullcontext() if images.is_meta else torch.autocast(images.device.type, enabled=False):
        seen = _coloured(images.to(draws.dtype), draws[:, :3], applied[:, :3])
        if images.shape[1] == 4:  # of an opacity, what comes in is clear
            return _moved(seen + 1.0, draws, applied) - 1.0
        return _moved(seen, draws, applied)


def _moved(images: Tensor, draws: Tensor, applied: Tensor) -> Tensor:
    """Shifted, and with a part cut out: what comes in is zero."""
    images = _translated(images, draws[:, 3:5], applied[:, 3])
    return images * _kept(images, draws[:, 5:7], applied[:, 4])


class Shown(nn.Module):
    """A generator whose images are transformed."""

    def __init__(self, generator: nn.Module, draws: Tensor, chance: Tensor) -> None:
        super().__init__()
        self.generator, self.draws, self.chance = generator, draws, chance

    def forward(self, *inputs: Tensor) -> Tensor:
        """Draw as the generator does, and transform the images as the opponent sees them."""
        return transformed(self.generator(*inputs), self.draws, self.chance)


def _coloured(images: Tensor, draws: Tensor, applied: Tensor) -> Tensor:
    """Brightness, saturation about each pixel's grey, contrast about the image's mean.

    Of four channels the last is opacity, by which the colours change: none where nothing is seen.
    """
    if images.shape[1] == 4:
        colours, opacity = images[:, :3], images[:, 3:]
        change = (_coloured(colours, draws, applied) - colours) * (opacity + 1.0) / 2.0
        return torch.cat([colours + change, opacity], 1)
    brightness, saturation, contrast = (applied[:, i, None, None, None] for i in range(3))
    u = draws[:, :, None, None, None].unbind(1)
    images = images + brightness * (u[0] - 0.5)
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * (1.0 + saturation * (2.0 * u[1] - 1.0))
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * (1.0 + contrast * (u[2] - 0.5))


def _translated(images: Tensor, draws: Tensor, applied: Tensor) -> Tensor:
    """Shift by whole pixels: products with matrices of zeros and ones, the same on every device."""
    height, width = images.shape[2:]
    down = _shift(draws[:, 0], applied, height)
    right = _shift(draws[:, 1], applied, width)
    shifted = _shifting(down, height)[:, None] @ images
    return shifted @ _shifting(right, width)[:, None].mT


def _shift(draws: Tensor, applied: Tensor, size: int) -> Tensor:
    most = (size + 4) // 8
    return ((draws * (2 * most + 1)).floor() - most) * applied


def _shifting(shift: Tensor, size: int) -> Tensor:
    """Matrices [n, size, size] that bring row i to row i + shift, and zeros to the rows left."""
    places = torch.arange(size, device=shift.device)
    return (places[:, None] - places == shift[:, None, None]).to(shift.dtype)


def _kept(images: Tensor, draws: Tensor, applied: Tensor) -> Tensor:
    """1 outside of a square of half the size around any pixel, 0 in it."""
    height, width = images.shape[2:]
    rows, columns = _inside(draws[:, 0], height), _inside(draws[:, 1], width)
    square = rows[:, :, None] & columns[:, None, :]
    return 1.0 - (square.to(images.dtype) * applied[:, None, None])[:, None]


def _inside(draws: Tensor, size: int) -> Tensor:
    places = torch.arange(size, device=draws.device)
    first = (draws * size).floor()[:, None] - size // 4
    return (places >= first) & (places < first + size // 2)

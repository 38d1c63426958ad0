"""A quick label-free figure: the Fréchet distance of an image pyramid, for following a training.

The whole picture at 8 pixels a side or less, and in each finer octave 4×4 patches of the detail
that the octave adds (a pyramid and its patches: Karras et al. 2018, "Progressive growing of GANs",
section 5, who compare them by the sliced Wasserstein distance). It needs no network and is no FID.
It sees blur, noise and missing modes at every scale; it does not know what a picture is of.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from monge.metrics.frechet import Gaussian, frechet_distance

NAME = "frechet_pyramid"
WHOLE = 8
PATCH = 4
MAX_SIDE = 64


def levels(images: Tensor) -> list[Tensor]:
    """Cut images [n, C, H, W] up by octaves, the whole picture first: each [m, d], d <= 64 C.

    Images over 64 pixels a side are reduced to that by area averaging.
    """
    sides = images.shape[2:]
    if max(sides) > MAX_SIDE:
        smaller = [max(1, side * MAX_SIDE // max(sides)) for side in sides]
        images = F.interpolate(images, smaller, mode="area")
    finer: list[Tensor] = []
    while max(images.shape[2:]) > WHOLE:
        coarse = F.avg_pool2d(images, 2, ceil_mode=True)
        finer.insert(0, _patches(images - _doubled(coarse, images)))
        images = coarse
    return [images.flatten(1), *finer]


def as_seen(images: Tensor) -> Tensor:
    """Images in −1..1 with colours times opacity, where a fourth channel has that."""
    if images.shape[1] != 4:
        return images
    share = (images[:, 3:] + 1.0) / 2.0
    return torch.cat([(images[:, :3] + 1.0) * share - 1.0, images[:, 3:]], 1)


def _doubled(coarse: Tensor, like: Tensor) -> Tensor:
    """Each pixel as a block of 2×2, cut to the size of `like` where that is odd."""
    height, width = like.shape[2:]
    blocks = coarse.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    return blocks[:, :, :height, :width]


def _patches(images: Tensor) -> Tensor:
    """4×4 patches side by side from the top left on: [n, C, H, W] -> [m, d], d <= 16 C."""
    size = (min(PATCH, images.shape[2]), min(PATCH, images.shape[3]))
    columns = F.unfold(images, size, stride=size)
    return columns.transpose(1, 2).reshape(-1, columns.shape[1])


class PyramidMoments:
    """Means and covariances of a pyramid's levels, of images that arrive in batches."""

    def __init__(self) -> None:
        self._sums: list[tuple[int, Tensor, Tensor]] = []

    @torch.no_grad()
    def add(self, images: Tensor) -> PyramidMoments:
        """Take in float images [n, C, H, W] in −1..1, on any device, and return self."""
        parts = [level.double() for level in levels(images)]
        sums = [(len(x), x.sum(dim=0), x.T @ x) for x in parts]
        if self._sums:
            sums = [
                (m + n, a + b, c + d) for (m, a, c), (n, b, d) in zip(self._sums, sums, strict=True)
            ]
        self._sums = sums
        return self

    def gaussians(self) -> list[Gaussian]:
        """Return one Gaussian a level; a single vector has no spread.

        Products of float64 values in −1..1 are summed as they are: what that rounds is 1e-13 of
        the grey levels' own steps. Raises ValueError when no image was added.
        """
        if not self._sums:
            raise ValueError("no image was added")
        found = []
        for count, total, products in self._sums:
            mean = total / count
            scatter = products - count * torch.outer(mean, mean)
            covariance = scatter / max(count - 1, 1)
            found.append(Gaussian(count, mean.cpu().numpy(), covariance.cpu().numpy()))
        return found


def pyramid_distance(made: Sequence[Gaussian], real: Sequence[Gaussian]) -> float:
    """Mean over levels of the Fréchet distance as a share of the real images' variance there.

    0 for equal Gaussians, 1 when all images are the real ones' mean. Dividing by the variance lets
    fine detail, of little contrast, count like the large. NaN when a moment is not finite.
    """
    shares = []
    for a, b in zip(made, real, strict=True):
        if not all(torch.isfinite(torch.from_numpy(v)).all() for v in (a.mean, a.covariance)):
            return float("nan")
        variance = float(b.covariance.trace())
        shares.append(frechet_distance(a, b) / (variance or 1.0))
    return sum(shares) / len(shares)

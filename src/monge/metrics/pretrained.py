"""The small network that comes with the package: features for images without labels.

`python -m benchmarks.pretrained` trained it, once, to name photographs, letters and symbols and to
say what was done to them and how much of it: blur, grain, mixing, noise, warping and stains. So its
features know what a picture is of and how spoilt it is, whatever data set they look at. No image of
a user's is ever in them, and nothing is fetched.
"""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import TYPE_CHECKING

from monge.metrics.features import TorchExtractor

if TYPE_CHECKING:
    import torch
    from torch import nn

# Raise it whenever the architecture or the way to its input below changes: protocols follow.
VERSION = 1
SIDE = 32
FEATURES = 96
WEIGHTS = "pretrained.safetensors"
NAME = "pretrained"


def pretrained_extractor() -> TorchExtractor:
    """Load the network that comes with the package: 96 features of images of any size and colour.

    Images go in at 32 by 32 pixels, in three channels.
    """
    import torch
    from safetensors.torch import load

    weights = resources.files("monge.metrics").joinpath(WEIGHTS).read_bytes()
    digest = hashlib.sha256(f"pretrained v{VERSION}\n".encode() + weights).hexdigest()
    trunk = build()
    trunk.load_state_dict({name: x.float() for name, x in load(weights).items()})
    trunk = trunk.eval().to(memory_format=torch.channels_last)
    return TorchExtractor(NAME, digest, trunk, resizer=f"bilinear to {SIDE}, smoothed")


def build() -> nn.Sequential:
    """Build the network [n, C, h, w] -> [n, 96], untrained: residual convolutions, 430,000 values.

    Half-precision weights of it take 0.9 MB.
    """
    import torch
    from torch import nn

    class Input(nn.Module):
        """Three channels of 32 by 32 pixels."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return resized(coloured(x), SIDE).contiguous(memory_format=torch.channels_last)

    class Residual(nn.Module):
        """x plus a convolution of it."""

        def __init__(self, width: int) -> None:
            super().__init__()
            self.inner = nn.Sequential(*_convolution(width, width, 1)[:2])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.relu(x + self.inner(x))

    return nn.Sequential(
        Input(),
        *_convolution(3, 32, 1),
        *_convolution(32, 64, 2),
        Residual(64),
        *_convolution(64, 128, 2),
        Residual(128),
        *_convolution(128, FEATURES, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def _convolution(before: int, after: int, stride: int) -> list[nn.Module]:
    from torch import nn

    convolution = nn.Conv2d(before, after, 3, stride, 1, bias=False)
    return [convolution, nn.BatchNorm2d(after), nn.ReLU()]


def coloured(x: torch.Tensor) -> torch.Tensor:
    """Images [n, C, h, w] in −1..1 as red, green and blue.

    Of two or four channels the last is opacity, by which the others are multiplied, so that none is
    above it; what is transparent becomes mid-grey.
    """
    import torch

    if x.shape[1] in (2, 4):
        opacity = x[:, -1:]
        x = torch.minimum(x[:, :-1], opacity) + 1.0 - (opacity + 1.0) / 2.0
    return x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x


def resized(x: torch.Tensor, side: int) -> torch.Tensor:
    """Images [n, C, h, w] as squares, by linear interpolation, smoothed where they get smaller."""
    from torch.nn.functional import interpolate

    if x.shape[2:] == (side, side):
        return x
    return interpolate(x, (side, side), mode="bilinear", antialias=True)

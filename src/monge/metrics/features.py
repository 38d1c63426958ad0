"""Feature extractors: what the Fréchet distance and the classifier score look through.

Neither is Inception, so no figure made with them is a FID or an Inception score.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Images = NDArray[np.uint8]
Floats = NDArray[np.float64]

Features = Literal["auto", "classifier", "pretrained", "random", "pixels", "inception"]

PIXELS_SIDE = 16
MAX_SIDE = 64
RANDOM_VERSION = 1
_RANDOM_SEED = 1781
# Up to this side one thread is as fast as two, and the result then has the same bits whatever the
# number of threads.
_ONE_THREAD_SIDE = 16


class Extractor(Protocol):
    """Turns images uint8 [n, C, H, W] into features; `hash` changes when the features would."""

    name: str
    hash: str
    accuracy: float | None

    def features(self, images: Images) -> Floats:
        """Feature vectors float64 [n, d]."""

    def probabilities(self, images: Images) -> Floats | None:
        """Class probabilities float64 [n, classes], None where there are no classes."""

    def both(self, images: Images) -> tuple[Floats, Floats | None]:
        """Features and probabilities in one pass."""

    def resizer(self, image_shape: tuple[int, int, int]) -> str:
        """Name what happens to images of this (C, H, W) first, for a protocol."""


class ImageSet(Protocol):
    """The part of a split of a packed dataset that an extractor needs."""

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """A class index an image, or None."""

    def __len__(self) -> int: ...

    def take(self, indices: NDArray[np.integer[Any]]) -> Images:
        """Images uint8 [k, C, H, W]."""


class TorchExtractor:
    """Runs `trunk` (images -> [n, d]) and `head` ([n, d] -> [n, classes]) on the CPU.

    Any batch size gives the same features but for the rounding of float32.
    """

    def __init__(
        self,
        name: str,
        digest: str,
        trunk: torch.nn.Module,
        head: torch.nn.Module | None = None,
        accuracy: float | None = None,
        resizer: str = "",
    ) -> None:
        self.name, self.hash, self.accuracy = name, digest, accuracy
        self._resizer = resizer
        self._trunk, self._head = trunk, head

    def features(self, images: Images) -> Floats:
        """Feature vectors: uint8 [n, C, H, W] -> float64 [n, d]."""
        return self.both(images)[0]

    def probabilities(self, images: Images) -> Floats | None:
        """Class probabilities: uint8 [n, C, H, W] -> float64 [n, classes], None without classes."""
        return self.both(images)[1]

    def both(self, images: Images) -> tuple[Floats, Floats | None]:
        """Features and probabilities of the same images in one pass."""
        import torch

        with torch.inference_mode(), threads_for(max(images.shape[2:])):
            features = self._trunk(network_input(images))
            scores = None if self._head is None else self._head(features)
            found: Floats = features.double().numpy()
            if scores is None:
                return found, None
            return found, torch.softmax(scores.double(), dim=1).numpy()

    def resizer(self, image_shape: tuple[int, int, int]) -> str:
        """Name what happens to images of this (C, H, W) first, for a protocol."""
        return self._resizer or resizer(image_shape)


def network_input(images: Images) -> torch.Tensor:
    """float32 [n, C, h, w] in −1..1; images over 64 pixels a side are reduced by area averaging."""
    import torch
    import torch.nn.functional as F

    x = torch.from_numpy(np.ascontiguousarray(images)).float().div_(127.5).sub_(1.0)
    side = max(x.shape[2:])
    if side > MAX_SIDE:
        small = [max(1, length * MAX_SIDE // side) for length in x.shape[2:]]
        x = F.interpolate(x, small, mode="area")
    return x.contiguous(memory_format=torch.channels_last)


def resizer(image_shape: tuple[int, int, int]) -> str:
    """Say what `network_input` does to images of this (C, H, W), in words for a protocol."""
    return "none" if max(image_shape[1:]) <= MAX_SIDE else f"area averaging to {MAX_SIDE}"


@contextmanager
def threads_for(side: int) -> Iterator[None]:
    """One thread for tiny images, torch's own number for others; put back afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1 if side <= _ONE_THREAD_SIDE else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def random_extractor(channels: int) -> TorchExtractor:
    """Build a fixed convolutional network with orthogonal weights from a seed: 128 features.

    Three stages of convolution and pooling; the last maps are averaged over quadrants, so that the
    features know roughly where things are. Random features of this kind separate image sets, but
    weigh what people see less well than trained ones.
    """
    import torch
    from torch import nn

    widths = (channels, 32, 32, 32)
    layers: list[nn.Module] = []
    generator = torch.Generator().manual_seed(_RANDOM_SEED)
    for before, after in itertools.pairwise(widths):
        convolution = nn.Conv2d(before, after, 3, padding=1, padding_mode="replicate")
        nn.init.orthogonal_(convolution.weight, gain=2.0, generator=generator)
        nn.init.uniform_(convolution.bias, -0.5, 0.5, generator=generator)  # type: ignore[arg-type]
        layers += [convolution, nn.LeakyReLU(0.2), nn.AvgPool2d(2, ceil_mode=True)]
    trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten()).eval()
    recipe = {"version": RANDOM_VERSION, "seed": _RANDOM_SEED, "widths": widths}
    digest = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()
    return TorchExtractor("random", digest, trunk)


def pixel_extractor() -> TorchExtractor:
    """The pixels themselves, −1..1, of images reduced to 16 a side: at most 768 features."""
    from torch import nn

    class Reduced(nn.Module):
        """Area averaging where an image is larger."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            side = max(x.shape[2:])
            if side <= PIXELS_SIDE:
                return x
            smaller = [max(1, length * PIXELS_SIDE // side) for length in x.shape[2:]]
            return nn.functional.interpolate(x, smaller, mode="area")

    digest = hashlib.sha256(f"pixels {PIXELS_SIDE}".encode()).hexdigest()
    trunk = nn.Sequential(Reduced(), nn.Flatten())
    return TorchExtractor("pixels", digest, trunk, resizer=f"area averaging to {PIXELS_SIDE}")

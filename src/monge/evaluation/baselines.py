"""The baselines of every data set: images that no generator should be worse than.

Three sets are made of the reference images alone, without a network, and are judged in the place of
the generated ones. A distance says little by itself; beside theirs it says whether a generator has
learnt more than an average, more than a texture, and more than where light and colour are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from monge.evaluation.evidence import Evidence

Images = NDArray[np.uint8]
Floats = NDArray[np.float64]

MEAN, NOISE, BLURRED = "mean_image", "noise", "blurred"
BLUR_SHARE = 1 / 8
"""The blur's standard deviation, as a share of the longer side: 1 pixel of 8, 4 of 32."""
MOST_MEASURED = 2000
"""Reference images that the noise's spectrum is taken from."""
_SEED = 1781
_VALUES = 2**21
"""Numbers in float64 or complex128 that are held at once, whatever the images' size."""


class Baselines:
    """The three sets; image i of each is the same one whenever it is asked for.

    `mean_image`: the mean of the reference images, always the same. `noise`: a normal field around
    it with the reference images' power spectrum and correlations between channels. `blurred`:
    reference images after a Gaussian blur. All are rounded to bytes, as a generator's are.
    """

    def __init__(self, evidence: Evidence) -> None:
        self._train, self._order = evidence.dataset.train, evidence.reference
        self._shape = evidence.dataset.image_shape
        self._at_a_time = max(1, _VALUES // int(np.prod(self._shape)))

    @property
    def samples(self) -> Mapping[str, Callable[[int, int], Images]]:
        """List them by name: (first, count) -> uint8 [count, C, H, W]."""
        return {MEAN: self._mean_images, NOISE: self._noise, BLURRED: self._blurred}

    @cached_property
    def mean(self) -> Floats:
        """Mean of the reference images [C, H, W]."""
        total = np.zeros(self._shape)
        for start, count in self._parts(0, len(self._order)):
            total += self._reals(start, count).sum(axis=0, dtype=np.float64)
        return total / len(self._order)

    def _mean_images(self, first: int, count: int) -> Images:
        return np.repeat(_rounded(self.mean)[None], count, axis=0)

    def _noise(self, first: int, count: int) -> Images:
        """White noise, each image of a seed of its own, coloured by the spectrum's root."""
        parts = []
        for start, some in self._parts(first, count):
            seeds = [(_SEED, i) for i in range(start, start + some)]
            white = [np.random.default_rng(seed).standard_normal(self._shape) for seed in seeds]
            waves = np.einsum("hwcd,ndhw->nchw", self._root, np.fft.fft2(np.stack(white)))
            parts.append(_rounded(self.mean + np.fft.ifft2(waves).real))
        return np.concatenate(parts)

    @cached_property
    def _root(self) -> NDArray[np.complex128]:
        """Hermitian root [H, W, C, C] of the images' mean cross spectrum, in units of white's."""
        channels, height, width = self._shape
        total = np.zeros((height, width, channels, channels), np.complex128)
        measured = min(MOST_MEASURED, len(self._order))
        for start, count in self._parts(0, measured):
            waves = np.fft.fft2(self._reals(start, count) - self.mean)
            total += np.einsum("nchw,ndhw->hwcd", waves, waves.conj())
        values, vectors = np.linalg.eigh(total / (measured * height * width))
        scaled = vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]
        root: NDArray[np.complex128] = scaled @ vectors.conj().swapaxes(-1, -2)
        return root

    def _blurred(self, first: int, count: int) -> Images:
        from scipy.ndimage import gaussian_filter

        sigma = BLUR_SHARE * max(self._shape[1:])
        return np.concatenate(
            [
                _rounded(gaussian_filter(self._reals(*part).astype(float), (0, 0, sigma, sigma)))
                for part in self._parts(first, count)
            ]
        )

    def _reals(self, first: int, count: int) -> Images:
        """Reference images [count, C, H, W], from the start again where they end."""
        return self._train.take(self._order[np.arange(first, first + count) % len(self._order)])

    def _parts(self, first: int, count: int) -> Iterator[tuple[int, int]]:
        for start in range(first, first + count, self._at_a_time):
            yield start, min(self._at_a_time, first + count - start)


def _rounded(images: Floats) -> Images:
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)

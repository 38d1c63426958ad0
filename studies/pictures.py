"""Small pictures for the studies that train on images, and who judges what was made of them.

The digits that scikit-learn ships are there everywhere; a folder or an archive of the user's is
taken in their place by `--images`. The judge is the product's: for pictures with classes its
classifier, trained once and kept, for others the network that comes with the package. The Fréchet
distances are in those features, and so neither of them is a FID.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor

from monge.data.batches import normalise
from monge.data.decode import Recipe, decode
from monge.data.encoded import RejectedError
from monge.data.sources import open_source
from monge.errors import InputError
from monge.metrics.extractors import extractor
from monge.metrics.features import Extractor
from monge.metrics.frechet import Gaussian, Moments, frechet_distance
from monge.metrics.scores import classifier_score
from monge.params import PrepareParams
from monge.paths import Paths
from monge.pictures import tile
from studies.study import Conditions

Images = NDArray[np.uint8]

ROOT = Path(__file__).parents[1]
_HELD_OUT = 5  # a fifth of the pictures tells how well the judge sees


@dataclass(frozen=True)
class Pictures:
    """Images uint8 [n, C, H, W], in an order of chance that is always the same."""

    images: Images
    labels: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def take(self, indices: NDArray[np.integer[Any]]) -> Images:
        """The images at these places."""
        taken: Images = self.images[indices]
        return taken

    def tensor(self) -> Tensor:
        """All of them as networks see them, float32 in [-1, 1]."""
        return normalise(torch.from_numpy(self.images.copy()))

    def of(self, rows: NDArray[np.integer[Any]]) -> Pictures:
        """Some of them, and their classes."""
        return Pictures(self.images[rows], None if self.labels is None else self.labels[rows])


def digits_or(at: Conditions, side: int = 16, colour: str = "grey", most: int = 5000) -> Pictures:
    """The digits, 8 x 8; of the user's images, where there are some, so many of so many pixels."""
    if at.images is None:
        return _read(PrepareParams(), Path(), most)
    source = "folder" if at.images.is_dir() else "archive"
    asked: dict[str, Any] = {"source": source, "resolution": side, "colour": colour}
    params = PrepareParams(**asked, path=str(at.images.absolute()))
    return _read(params, Path("/"), most)


def _read(params: PrepareParams, root: Path, most: int) -> Pictures:
    """The first `most` images of a source that can be read, shuffled; a folder is a class."""
    recipe = Recipe(params.resolution, params.colour, "crop", "#000000", params.max_pixels, "full")
    images, names = [], []
    for path, encoded in islice(open_source(params, root, root).items, most):
        try:
            images.append(decode(encoded, recipe))
        except RejectedError:
            continue
        names.append(path.rpartition("/")[0])
    if len(images) < 2 * _HELD_OUT:
        raise InputError(f"--images: {params.path}: {len(images)} images that can be read.")
    classes = sorted(set(names))
    labels = np.array([classes.index(name) for name in names], np.int64)
    order = np.random.default_rng(0).permutation(len(images))
    return Pictures(np.stack(images)[order], labels[order] if len(classes) > 1 else None)


class Judge:
    """Judges how far generated images are from real ones, and how much they look like a class."""

    def __init__(self, real: Pictures) -> None:
        self.extractor = _extractor(_Hashed(real))
        self.real = self._gaussian(self.extractor.features(real.images))

    def distance(self, images: Images) -> float:
        """Fréchet distance of features, generated images to the real ones."""
        return frechet_distance(self._gaussian(self.extractor.features(images)), self.real)

    def score(self, images: Images) -> float:
        """1 to the number of classes (Salimans et al. 2016, section 4); nan without classes."""
        p = self.extractor.probabilities(images)
        return float("nan") if p is None else classifier_score(p)

    def _gaussian(self, features: NDArray[np.float64]) -> Gaussian:
        return Moments(features.shape[1]).add(features).gaussian()


@dataclass(frozen=True)
class _Hashed:
    """Pictures that are the same where their bytes are."""

    pictures: Pictures

    @property
    def digest(self) -> str:
        """Hash the images and their classes."""
        seen = hashlib.sha256(self.pictures.images.tobytes())
        seen.update(np.asarray(self.pictures.labels).tobytes())
        return seen.hexdigest()

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hashed) and other.digest == self.digest


@lru_cache(maxsize=4)
def _extractor(hashed: _Hashed) -> Extractor:
    real = hashed.pictures
    count = len(real) // _HELD_OUT
    rows = np.arange(len(real))
    cache = Paths(ROOT).own_state / "studies"
    cache.mkdir(parents=True, exist_ok=True)
    known, held_out = real.of(rows[count:]), real.of(rows[:count])
    return extractor("auto", known, held_out, dataset_hash=hashed.digest, cache=cache)


def in_bytes(images: Tensor) -> Images:
    """Turn a generator's images, [-1, 1], into pictures: uint8 [n, C, H, W]."""
    scaled = (images.detach().clamp(-1.0, 1.0) + 1.0) * 127.5
    return scaled.round().to(torch.uint8).numpy()


def show(axes: Axes, images: Images, title: str, columns: int = 8) -> None:
    """Draw pictures in rows, without axes."""
    grid = tile(images.transpose(0, 2, 3, 1), columns)
    axes.imshow(grid.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_axis_off()
    axes.set_title(title, fontsize=10)

"""Opens the images of `monge metrics A B`: folders, archives, packed sets, generators."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from monge import sizes
from monge.data.decode import COLOUR_OF
from monge.errors import InputError, SourceError
from monge.params import Params, PrepareParams
from monge.paths import Paths

if TYPE_CHECKING:
    from monge.data.packed import PackedDataset
    from monge.metrics.features import Extractor
    from monge.serving.sampler import Sampler

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class Opened(NamedTuple):
    """Both sets, the extractor that sees them, and what they are, for the protocol."""

    made: Any
    real: Any
    look: Extractor
    origin: dict[str, str]


class Drawn:
    """A generator's images as a set: image i is image i of the seed."""

    def __init__(self, sampler: Sampler, count: int, seed: int) -> None:
        self._sampler, self._count, self._seed = sampler, count, seed
        self.hash, self.labels = sampler.model_hash, None

    def __len__(self) -> int:
        return self._count

    def take(self, indices: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
        """Images uint8 [k, C, H, W] of these indices, drawn one run of neighbours at a time."""
        order = np.argsort(indices, kind="stable")
        runs = np.split(order, np.flatnonzero(np.diff(indices[order]) != 1) + 1)
        shape = self._sampler.contract.image_shape
        out = np.empty((len(indices), *shape), np.uint8)
        for run in runs:
            if len(run):
                first = int(indices[run[0]])
                out[run] = self._sampler.sample(len(run), seed=self._seed, first=first)
        return np.ascontiguousarray(out.transpose(0, 3, 1, 2))


@contextmanager
def opened(
    params: Params,
    paths: Paths,
    first: str,
    second: str,
    size: int | str | None,
    colour: str | None,
) -> Iterator[Opened]:
    """Open both sides at one size; folders and archives are packed into a folder that goes again.

    Raises InputError, and what packing or loading raises.
    """
    from monge.data.packed import Split
    from monge.metrics.extractors import extractor

    with tempfile.TemporaryDirectory(prefix="monge-metrics-") as scratch:
        ready = {name: _ready(params, name) for name in (first, second)}
        shape = next((_shape(side) for side in ready.values() if side is not None), None)
        if shape is not None:
            channels, height, width = shape
            size, colour = size or sizes.written(width, height), colour or COLOUR_OF[channels]
        if size is None:
            raise InputError(
                "--size: say at which size the images are to be compared, as 64 or 48x32 (width x "
                "height); a packed dataset or a generator would say it itself."
            )
        recipe = params.prepare.model_copy(update={"resolution": size, "colour": colour or "rgb"})
        sides, origin = [], {}
        for role, name in (("generated", first), ("real", second)):
            side = ready[name] or _packed(recipe, name, Path(scratch) / role)
            sides.append(side)
            origin[f"{role}_hash"] = _hash(side)
        reference = sides[1]
        train: Any = reference if isinstance(reference, Drawn) else reference.train
        held_out: Any = reference if isinstance(reference, Drawn) else reference.validation
        look = extractor(
            params.evaluate.features, train, held_out,
            dataset_hash=origin["real_hash"], cache=paths.state / "features",
        )  # fmt: skip
        wholes = [
            side
            if isinstance(side, Drawn)
            else Split([*side.train.shards, *side.validation.shards], None)
            for side in sides
        ]
        origin["generator_hash"] = origin.pop("generated_hash")
        yield Opened(wholes[0], wholes[1], look, origin)


def _ready(params: Params, name: str) -> PackedDataset | Drawn | None:
    """A generator or a packed dataset, which have a size of their own; None for what has not."""
    from monge.data.packed import PackedDataset
    from monge.serving.sampler import Sampler

    if name.endswith(".onnx") or name.startswith(("models:/", "http://", "https://")):
        sampler = Sampler.load(name, params.evaluate.provider)
        return Drawn(sampler, params.evaluate.images, params.evaluate.seed)
    path = Path(name)
    if not path.exists():
        raise InputError(f"{name}: no such folder, archive, dataset or generator.")
    return PackedDataset.open(path) if (path / "manifest.json").is_file() else None


def _packed(recipe: PrepareParams, name: str, out: Path) -> PackedDataset:
    from monge.data.prepare import prepare
    from monge.data.sources import open_source
    from monge.evaluation.two_sets import FEWEST_IMAGES

    path = Path(name).resolve()
    if not path.is_dir() and not name.lower().endswith(ARCHIVES):
        raise InputError(
            f"{name}: neither a folder, nor an archive ({', '.join(ARCHIVES)}), nor a generator."
        )
    source = "folder" if path.is_dir() else "archive"
    wanted = recipe.model_copy(update={"source": source, "path": str(path)})
    try:
        count = open_source(wanted, path.parent, out).count
        if count is not None and count < FEWEST_IMAGES:
            raise SourceError(
                f"{name}: {count} image{'' if count == 1 else 's'}, and at least {FEWEST_IMAGES} a "
                "side are needed. Add images, or name another folder or archive."
            )
        return prepare(wanted, path.parent, out, out)
    except SourceError as error:  # written for `monge prepare`, whose folder is a parameter
        told = str(error).replace("set prepare.path", "name another folder or archive")
        raise SourceError(told) from None


def _shape(side: PackedDataset | Drawn) -> tuple[int, int, int]:
    """(C, H, W)."""
    if isinstance(side, Drawn):
        channels, height, width = side.take(np.array([0])).shape[1:]
        return channels, height, width
    return side.image_shape


def _hash(side: PackedDataset | Drawn) -> str:
    return side.hash if isinstance(side, Drawn) else side.content_hash

"""Many images, in shards that a cluster or a broken run can take up one by one.

Shard k of a folder holds the same images whoever makes it, so that work is shared without talking:
`plan.json` says what the folder is to hold, a shard is written aside and renamed, and one that is
there is whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from monge.contract import Contract
from monge.errors import Busy, InputError, MissingExtra, StorageError
from monge.files import sync
from monge.labels import Labels
from monge.serving.marks import Marker, save
from monge.serving.pictures import picture

Images = NDArray[np.uint8]
Format = Literal["webdataset", "parquet"]

PLAN = "plan.json"
MAX_SHARDS = 100_000
_SUFFIXES = {"webdataset": "tar", "parquet": "parquet"}
_ROWS = 1000  # of a group in a Parquet file


class SeedSampler(Protocol):
    """Draws the images of a seed."""

    contract: Contract
    model_hash: str

    def stream(
        self,
        n: int,
        seed: int = 0,
        first: int = 0,
        truncation: float | None = None,
        label: int | None = None,
    ) -> Iterator[Images]: ...

    def labels(
        self, n: int, seed: int = 0, first: int = 0, wanted: int | None = None
    ) -> Labels | None: ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan of a folder: images 0 .. n − 1 of a seed, `shard_size` in each file.

    With `label`, all of a conditional generator's images are of that class; without, each has the
    label that its index gives it. With `marks` every picture says of itself that it is generated.
    """

    n: int
    seed: int = 0
    shard_size: int = 10_000
    format: Format = "webdataset"
    model_hash: str = ""
    label: int | None = None
    marks: bool = True

    def __post_init__(self) -> None:
        if self.n < 1 or self.shard_size < 1:
            raise InputError("the number of images and the size of a shard must be at least 1.")
        if self.format not in _SUFFIXES:
            raise InputError(f"format must be webdataset or parquet, got {self.format!r}.")
        if self.shards > MAX_SHARDS:
            raise InputError(f"{self.shards} shards are more than {MAX_SHARDS}: make them larger.")

    @property
    def shards(self) -> int:
        """Count the files that there will be."""
        return -(-self.n // self.shard_size)

    def name(self, shard: int) -> str:
        """A shard's file name."""
        return f"shard-{shard:05}-of-{self.shards:05}.{_SUFFIXES[self.format]}"

    def span(self, shard: int) -> tuple[int, int]:
        """A shard's first image and how many it holds."""
        first = shard * self.shard_size
        return first, min(self.shard_size, self.n - first)


def begin(folder: Path, plan: Plan) -> None:
    """Write the plan into a folder, or find the same one there.

    Raises InputError when the folder is meant for something else, StorageError on a full disk.
    """
    place = folder / PLAN
    with _storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            if any(not path.name.startswith(".") for path in folder.iterdir()):
                raise InputError(f"{folder}: this folder has files. Name a new one.")
            _write_whole(place, lambda file: file.write(_text(plan)))
        try:
            known = json.loads(place.read_bytes())
        except ValueError:
            raise InputError(f"{place}: damaged. Name a new folder.") from None
    wanted = json.loads(_text(plan))
    other = [
        f"{key} {known.get(key)}, not {wanted[key]}"
        for key in wanted
        if known.get(key) != wanted[key]
    ]
    if other:
        raise InputError(f"{folder}: is meant for other images: {'; '.join(other)}.")


def missing(folder: Path, plan: Plan) -> list[int]:
    """The shards that are not there yet."""
    return [k for k in range(plan.shards) if not (folder / plan.name(k)).exists()]


def write_shard(
    sampler: SeedSampler,
    folder: Path,
    plan: Plan,
    shard: int,
    progress: Callable[[int], object] = lambda images: None,
) -> bool:
    """Make one shard, unless it is there; whether it was made.

    Takes no more memory than a batch of images and, for Parquet, a group of rows. Raises Busy when
    another process makes it, InputError when the sampler is not the plan's.
    """
    place = folder / plan.name(shard)
    if sampler.model_hash != plan.model_hash:
        raise InputError(f"{folder}: is meant for another generator file ({plan.model_hash[:12]}).")
    with _storing(folder), _alone(place):
        if place.exists():
            return False
        writer = _write_tar if plan.format == "webdataset" else _write_parquet
        pictures = _pictures(sampler, plan, shard, progress)
        _write_whole(place, lambda file: writer(file, pictures, sampler.contract))
    return True


def write(
    sampler: SeedSampler,
    folder: Path,
    plan: Plan,
    progress: Callable[[int], object] = lambda images: None,
) -> int:
    """Make every shard that is not there; how many were. After a kill the same call goes on."""
    begin(folder, plan)
    made = 0
    for shard in range(plan.shards):
        if write_shard(sampler, folder, plan, shard, progress):
            made += 1
        else:
            progress(plan.span(shard)[1])
    return made


@dataclass(frozen=True)
class Picture:
    """One image: its index under a seed, its label where it has one, and its PNG."""

    index: int
    seed: int
    label: int | None
    png: bytes


def _pictures(
    sampler: SeedSampler, plan: Plan, shard: int, progress: Callable[[int], object]
) -> Iterator[Picture]:
    first, count = plan.span(shard)
    index = first
    labels = sampler.labels(count, plan.seed, first, plan.label)
    marker, packet = Marker(plan.model_hash), None
    for images in sampler.stream(count, plan.seed, first, label=plan.label):
        for image in images:
            buffer = io.BytesIO()
            label = None if labels is None else int(labels[index - first])
            if plan.marks:
                of_class = {} if plan.label is None else {"labels": plan.label}
                packet = marker.packet({"seed": plan.seed, "first": index, **of_class})
            save(picture(image), buffer, "png", packet, compress_level=1)
            yield Picture(index, plan.seed, label, buffer.getvalue())
            index += 1
        progress(len(images))


def _write_tar(file: Any, pictures: Iterator[Picture], _: Contract) -> None:
    """Members 000000012.png, .json and, for a label, .cls: what WebDataset reads as one sample."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for one in pictures:
            about = json.dumps({"index": one.index, "seed": one.seed}).encode("ascii")
            members = [("png", one.png), ("json", about)]
            if one.label is not None:
                members.append(("cls", str(one.label).encode("ascii")))
            for suffix, data in members:
                member = tarfile.TarInfo(f"{one.index:012}.{suffix}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


def _write_parquet(file: Any, pictures: Iterator[Picture], contract: Contract) -> None:
    """Columns index, seed, image {bytes, path}, as collections of datasets know it, and label."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra("Parquet needs pyarrow: pip install 'monge[parquet]'.") from None
    image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    fields = [("index", pyarrow.int64()), ("seed", pyarrow.uint64()), ("image", image)]
    if contract.conditional:
        fields.append(("label", pyarrow.int64()))
    schema = pyarrow.schema(fields, {"monge.contract": contract.to_json()})
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        for rows in _groups(pictures):
            columns: dict[str, list[Any]] = {
                "index": [one.index for one in rows],
                "seed": [one.seed for one in rows],
                "image": [{"bytes": one.png, "path": f"{one.index:012}.png"} for one in rows],
                "label": [one.label for one in rows],
            }
            arrays = [pyarrow.array(columns[field.name], field.type) for field in schema]
            writer.write_batch(pyarrow.RecordBatch.from_arrays(arrays, schema=schema))


def _groups(pictures: Iterator[Picture]) -> Iterator[Sequence[Picture]]:
    rows: list[Picture] = []
    for one in pictures:
        rows.append(one)
        if len(rows) == _ROWS:
            yield rows
            rows = []
    if rows:
        yield rows


def _text(plan: Plan) -> bytes:
    return (json.dumps(asdict(plan), indent=1) + "\n").encode("ascii")


def _write_whole(place: Path, fill: Callable[[Any], object]) -> None:
    """Write aside, sync, rename: what has the name is whole."""
    aside = place.with_name(f".{place.name}.partial-{os.getpid()}-{_short(place)}")
    try:
        with aside.open("wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(place)
        sync(place.parent)
    finally:
        aside.unlink(missing_ok=True)


def _short(place: Path) -> str:
    return hashlib.sha256(str(place).encode()).hexdigest()[:6]


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Hold a shard for this process; the kernel lets go of it when the process dies."""
    lock = place.with_name(f".{place.name}.lock")
    with lock.open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"{place}: another process makes this shard.") from None
        for partial in place.parent.glob(f".{place.name}.partial-*"):  # of one that was killed
            partial.unlink(missing_ok=True)
        yield
        lock.unlink(missing_ok=True)


@contextmanager
def _storing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{folder}: cannot be written: {error.strerror or error}. Free space or allow access; "
            "the same command goes on where this one stopped."
        ) from None

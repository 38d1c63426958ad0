"""The stage `prepare`: every image decoded, checked, ordered by path and packed."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from monge.data import data_contract
from monge.data.decode import CONVERSION, KEPT, Recipe
from monge.data.encoded import Encoded
from monge.data.layout import Layout, organise
from monge.data.listing import Item, Source
from monge.data.packed import SPLITS, Images, PackedDataset
from monge.data.pool import Chunk, decode_all
from monge.data.remarks import Remarks
from monge.data.replacement import storage_error, write_whole
from monge.data.sources import open_source
from monge.data.telling import Oddities, block, none_readable, reasons
from monge.data.writer import PackedWriter
from monge.errors import Interrupted, SourceError
from monge.params import PrepareParams

logger = logging.getLogger(__name__)

_CHUNK_IMAGES = 64
_CHUNK_BYTES = 2**20
_COPY_BYTES = 16 * 2**20
_QUIET_S = 2.0
_LOG_EVERY_S = 10.0


def prepare(params: PrepareParams, root: Path, downloads: Path, out: Path) -> PackedDataset:
    """Pack the images that `params` name into the folder `out`; `params.path` is below `root`.

    The same images and parameters give the same bytes, whatever the number of workers or the
    order in the archive. What `out` held before stays until the new dataset is complete.
    Raises SourceError (no images, too many rejected, unsafe archive), ServiceError or MissingExtra
    (torchvision's datasets), StorageError.
    """
    recipe = Recipe(
        params.resolution, params.colour, params.fit, params.background, params.max_pixels,
        params.levels,
    )  # fmt: skip
    with _sigterm_unwinds():
        source = open_source(params, root, downloads)
        with _arrivals_file(out) as file:
            arrivals = _Arrivals(min_side=params.contract.min_side)
            _decode(arrivals, source, recipe, params.workers or _cores(), file, out)
            _refuse_too_many_rejected(arrivals, params)
            paths = sorted(arrivals.rows)
            layout = organise(
                paths, params.validation_fraction, params.seed,
                classes="none" if source.sharded and not source.labels else params.classes,
                given=source.labels,
            )  # fmt: skip
            rows = np.array([arrivals.rows[path] for path in paths], np.int64)
            images = np.memmap(file, np.uint8, "r", shape=(len(rows), *recipe.image_shape))
            odd = Oddities(images)
            dataset = _pack(images, rows, paths, layout, source, arrivals, params, out, odd)
    left_out = {paths[place]: reason for place, reason in layout.left_out.items()}
    for line in block(dataset, layout.notes, left_out, source.skipped, arrivals.rejected, odd):
        logger.info("%s", line)
    for sentence in dataset.manifest["remarks"]:
        logger.warning("  %-10s %s", "look at", sentence)
    return dataset


@dataclass
class _Arrivals:
    """Collects what came out of decoding, in whatever order.

    Each good path's row, each bad one's reason, and what is doubtful.
    """

    rows: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)
    remarks: Remarks = field(default_factory=Remarks)
    min_side: int = 0
    small: list[str] = field(default_factory=list)
    """Those with a side of fewer pixels than `min_side`."""


def _decode(
    arrivals: _Arrivals, source: Source, recipe: Recipe, workers: int, file: io.RawIOBase, out: Path
) -> None:
    """Decode everything into a file, and note what came out."""
    results = decode_all(_chunks(source.items), recipe, workers)
    with closing(results), _progress(source.count) as advance:
        for names, decoded in results:
            traits = iter(decoded.traits)
            for name, reason in zip(names, decoded.reasons, strict=True):
                if reason is not None:
                    arrivals.rejected[name] = reason
                    continue
                arrivals.rows[name] = len(arrivals.rows)
                found = next(traits)
                arrivals.remarks.note(name, found)
                if found.side < arrivals.min_side:
                    arrivals.small.append(name)
            try:
                write_whole(file, decoded.images)
            except OSError as error:
                raise storage_error(out, error) from None
            advance(len(names))


def _chunks(items: Iterable[Item]) -> Iterator[Chunk]:
    """Enough images at once to be worth a message, few enough to bound memory and share fairly."""
    names: list[str] = []
    encoded: list[Encoded] = []
    size_bytes = 0
    for name, content in items:
        names.append(name)
        encoded.append(content)
        size_bytes += _weight(content)
        if len(names) == _CHUNK_IMAGES or size_bytes >= _CHUNK_BYTES:
            yield names, encoded
            names, encoded, size_bytes = [], [], 0
    if names:
        yield names, encoded


def _weight(content: Encoded) -> int:
    if isinstance(content, bytes):
        return len(content)
    if isinstance(content, np.ndarray):
        return content.nbytes
    try:
        return os.path.getsize(content) if isinstance(content, str) else 0
    except OSError:
        return 0


def _refuse_too_many_rejected(arrivals: _Arrivals, params: PrepareParams) -> None:
    bad, total = len(arrivals.rejected), len(arrivals.rejected) + len(arrivals.rows)
    if not bad or (bad <= params.max_rejected_fraction * total and arrivals.rows):
        return
    if not arrivals.rows:
        raise none_readable(params.path, arrivals.rejected)
    raise SourceError(
        f"{bad} of {total} images cannot be read (limit {params.max_rejected_fraction:g}): "
        f"{reasons(arrivals.rejected)}. Remove them, or raise prepare.max_rejected_fraction."
    )


def _pack(
    images: Images,
    rows: np.ndarray[Any, np.dtype[np.int64]],
    paths: list[str],
    layout: Layout,
    source: Source,
    arrivals: _Arrivals,
    params: PrepareParams,
    out: Path,
    odd: Oddities,
) -> PackedDataset:
    names = layout.class_names
    if source.titles:
        names = [source.titles[int(name)] for name in names]
    channels, height, width = images.shape[1:]
    step = max(1, _COPY_BYTES // (channels * height * width))
    packed = {path for place, path in enumerate(paths) if place not in layout.left_out}
    measured = data_contract.Measured(small=[each for each in arrivals.small if each in packed])
    with PackedWriter(out, (channels, height, width), names) as writer:
        for split in SPLITS:
            members = layout.rows(split)
            for start in range(0, len(members), step):
                part = members[start : start + step]
                labels = None if layout.labels is None else layout.labels[part]
                taken = images[rows[part]]
                writer.append(split, taken, labels)
                odd.add([paths[place] for place in part], rows[part], taken)
                measured.add(taken, copies=params.contract.max_copies_fraction < 1.0)
        measured.classes, measured.near = _per_class(layout, names), len(odd.copies)
        data_contract.require(params.contract, measured, source.description.get("name", "digits"))
        return writer.finish(
            source=source.description,
            params=params.model_dump(),
            conversion=CONVERSION | ({"alpha": KEPT} if params.colour == "rgba" else {}),
            rejected=_listed(arrivals.rejected),
            remarks=arrivals.remarks.sentences(
                packed,
                params.fit,
                "" if params.colour == "rgba" else params.background,
                params.resolution,
            ),
            skipped_files=source.skipped.total(),
            skipped=dict(source.skipped),
            left_out=_listed({paths[place]: why for place, why in layout.left_out.items()}),
            notes=layout.notes,
        )


def _listed(reasons: Mapping[str, str]) -> list[dict[str, str]]:
    """Files that were not taken, in their order, as the manifest has them."""
    return [{"path": path, "reason": reason} for path, reason in sorted(reasons.items())]


def _per_class(layout: Layout, names: list[str]) -> dict[str, int]:
    """Count the images of each class, to train on and held out."""
    if layout.labels is None:
        return {}
    kept = np.concatenate([layout.labels[layout.rows(split)] for split in SPLITS])
    counts = np.bincount(kept, minlength=len(names)).tolist()
    return dict(zip(names, counts, strict=True))


@contextmanager
def _arrivals_file(out: Path) -> Iterator[io.RawIOBase]:
    """Open a file on the disk of `out` without a name, so that it cannot outlive the process."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=out.parent, buffering=0)  # noqa: SIM115 - closed below
    except OSError as error:
        raise storage_error(out, error) from None
    with file:
        yield file


@contextmanager
def _progress(total: int | None) -> Iterator[Any]:
    """Show a bar on a terminal, log lines elsewhere, neither for quick work."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(total=total, desc="prepare", unit=" images", delay=_QUIET_S) as bar:
            yield bar.update
        return
    done, due = 0, time.monotonic() + _LOG_EVERY_S

    def advance(count: int) -> None:
        nonlocal done, due
        done += count
        if time.monotonic() >= due:
            due = time.monotonic() + _LOG_EVERY_S
            logger.info("decoded %d%s images", done, f" of {total}" if total else "")

    yield advance


class _Terminated(BaseException):
    """SIGTERM has come. No Exception: what a decoder raises is a reason to reject an image."""


@contextmanager
def _sigterm_unwinds() -> Iterator[None]:
    """Let SIGTERM unwind like Ctrl-C, so that workers and unfinished files go at once."""
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise _Terminated

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except _Terminated:
        raise Interrupted(
            "stopped by SIGTERM before all images were packed; what was packed before is as it "
            "was. The same command begins again."
        ) from None
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _cores() -> int:
    return len(os.sched_getaffinity(0))

"""Plans a training without doing it: networks, memory, time, disk. Nothing is written.

The time is measured: a few iterations of a training that is thrown away, on real images, with the
same code as the training's. They take no lock, so that one may look while another training runs.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from monge import nets, objectives, sizes
from monge.alpha import COLOURS
from monge.data.batches import Batches
from monge.data.budget import free_bytes
from monge.data.packed import PackedDataset
from monge.durations import duration
from monge.params import TrainParams
from monge.training import labels
from monge.training.checkpoints import checkpoint, lock, resume
from monge.training.context import Training
from monge.training.forecast.footprint import Footprint, Layer, footprint, layers, networks
from monge.training.forecast.timing import Timing, timed
from monge.training.machine.device import choose_device
from monge.training.machine.precision import choose_precision


@dataclass(frozen=True)
class Start:
    """The place where the training would begin: a step, and a sentence about it."""

    step: int
    sentence: str


def describe(
    training: Training, lock_file: Path, *, fresh: bool = False, if_changed: str = "refuse"
) -> Iterator[str]:
    """The plan in lines, the quick ones first.

    Raises what the training would raise before its first step, save CheckpointMismatch: that it
    would be refused is said in a line.
    """
    train, dataset = training.params, training.dataset
    start = begin(training, fresh=fresh, if_changed=if_changed)
    device = choose_device(train.device)
    classes = labels.count(train, dataset)
    for role, network in networks(train, dataset.image_shape, classes).items():
        inputs = nets.inputs(role, train, dataset.image_shape)
        known = classes if nets.takes_labels(role) else 0
        yield from _network_lines(role, layers(network, inputs, known))
    share = train.model_copy(update={"batch_size": train.batch_size // train.devices})
    with Batches(dataset.train, share, device) as batches:
        size = footprint(share, dataset.image_shape, classes)
        kept = math.prod(dataset.train.shape) if batches.resident else 0
        yield from _machine_lines(train, dataset, device, resident=batches.resident)
        yield from _memory_lines(size, kept, device)
        yield from _disk_lines(train, size, training.folder)
        yield from _step_lines(train, start, lock.holder(lock_file))
        if start.step >= train.steps:
            return
        if size.total + kept > free_bytes(device):
            yield "  no time was measured: this would not fit the memory"
            return
        yield from _time_lines(train, start, timed(share, dataset, batches, device, start.step))


def begin(training: Training, *, fresh: bool, if_changed: str) -> Start:
    """Find where `monge train` would begin. Raises InputError when it cannot take `init_from`."""
    train, folder = training.params, training.folder
    found = checkpoint.latest(folder)
    changed = resume.changes(found, training) if found else []
    afresh = fresh or bool(changed and if_changed == "fresh")
    if found and not changed and not fresh:
        return Start(found.step, f"would go on from {found.path}")
    if found and not afresh:
        return Start(
            0, f"would be REFUSED, for {folder} holds another training ({'; '.join(changed)})"
        )
    resume.look_ahead(training, afresh=afresh)
    weights = f"the weights of {train.init_from}" if train.init_from else "random weights"
    moved = f", after moving {folder} to {resume.set_aside_folder(folder)}" if found else ""
    return Start(0, f"would start from {weights}{moved}")


def _network_lines(role: str, found: Sequence[Layer]) -> Iterator[str]:
    rows = [(layer.name, layer.kind, _shape(layer.shape), f"{layer.weights:,}") for layer in found]
    total = sum(layer.weights for layer in found)
    yield from _table([(role, "", "output", "weights"), *rows, ("total", "", "", f"{total:,}")])
    yield ""


def _machine_lines(
    train: TrainParams, dataset: PackedDataset, device: torch.device, *, resident: bool
) -> Iterator[str]:
    yield f"device     {device}, precision {choose_precision(train.precision, device)}"
    where = "kept there (resident)" if resident else "read from the disk all the time (streamed)"
    channels, height, width = dataset.image_shape
    size = f"{sizes.told(width, height)} in {COLOURS[channels]}"
    yield f"images     {len(dataset.train):,} of {size}, {where}"
    parts = "" if train.accumulate == 1 else f", in {train.accumulate} parts"
    shared = "" if train.devices == 1 else f", shared by {train.devices} devices"
    yield f"batch      {train.batch_size:,} images{shared}{parts}"
    yield ""


def _memory_lines(size: Footprint, images: int, device: torch.device) -> Iterator[str]:
    """The table, its sum, and what is free."""
    rows = {
        "networks": size.weights, "gradients": size.gradients, "optimizers": size.optimizers,
        "averages": size.average, "activations": size.activations, "images": images,
    }  # fmt: skip
    total = sum(rows.values())
    on_cpu = device.type == "cpu"
    if on_cpu:
        rows["a checkpoint's copy"] = size.checkpoint
        total += size.checkpoint
    free = free_bytes(device)
    table = [("memory, about", ""), *((name, _size(size)) for name, size in rows.items())]
    yield from _table([*table, ("total", _size(total)), ("free", _size(free))])
    if total > free:
        yield (
            "  more than is free: raise train.accumulate, lower train.batch_size or the widths"
            + (", or use train.data: streamed" if images else "")
        )
    yield ""


def _disk_lines(train: TrainParams, size: Footprint, folder: Path) -> Iterator[str]:
    """The newest, the best as of each of them, and the one that is being written."""
    most = 2 * train.keep_checkpoints + 1
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    yield (
        f"disk       {_size(size.checkpoint)} a checkpoint, at most {most} at a time "
        f"({_size(most * size.checkpoint)}); {_size(free)} free"
    )
    if most * size.checkpoint > free:
        yield "  more than is free: lower train.keep_checkpoints, or make room"


def _step_lines(train: TrainParams, start: Start, holder: int | None) -> Iterator[str]:
    left = max(0, train.steps - start.step)
    yield f"start      {start.sentence}"
    if holder is not None:
        yield f"           (process {holder} is training here now, which slows what is timed below)"
    if left:
        yield f"steps      {left:,} to do, from {start.step:,} to {train.steps:,}"
    else:
        yield f"steps      none to do: it is at step {start.step:,} of {train.steps:,}"


def _time_lines(train: TrainParams, start: Start, timing: Timing) -> Iterator[str]:
    """The iterations' share; a longer one (extra critic steps) counts by its batches."""
    objective = objectives.build(train)
    batches = objective.batches_before(train.steps) - objective.batches_before(start.step)
    yield (
        f"time       about {duration(timing.each_s * batches / objective.batches)}: "
        f"{timing.each_s * 1000:,.1f} ms an iteration, {timing.found_from}"
    )
    yield "           (figures, pictures, looks at the quality and checkpoints come on top)"
    if train.devices > 1:
        yield "           (on one device, with its share; waiting for the others comes on top)"
    if timing.peak_bytes is not None:
        yield f"           the GPU's memory held {_size(timing.peak_bytes)} meanwhile"


def _table(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Rows with their columns under each other, the last one to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        yield "  ".join([*cells, row[-1].rjust(widths[-1])]).rstrip()


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "1"


def _size(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:,.1f} MB" if size_bytes < 1e9 else f"{size_bytes / 1e9:,.1f} GB"

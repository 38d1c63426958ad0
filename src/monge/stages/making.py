"""The stages that make files: prepare, train, export."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from monge.errors import CheckpointMismatch
from monge.params import Params
from monge.paths import Paths
from monge.stages.tracking import describe_training, tracked

if TYPE_CHECKING:
    from monge.data.packed import PackedDataset
    from monge.export.parity import Parity
    from monge.training.loop import Outcome

log = logging.getLogger(__name__)

IfChanged = Literal["refuse", "fresh"]
_LOCK = "train.lock"


def prepare(params: Params, paths: Paths) -> PackedDataset:
    """Images to the packed dataset in `data/prepared`."""
    from monge.data.prepare import prepare as pack

    return pack(params.prepare, paths.root, paths.downloads, paths.prepared)


def train(
    params: Params, paths: Paths, *, fresh: bool = False, if_changed: IfChanged = "refuse"
) -> Outcome:
    """The packed dataset to checkpoints, going on from the newest one.

    `fresh` starts again; `if_changed` says what to do when the checkpoints on disk are of another
    training: refuse with the differences, or set them aside and start afresh.
    """
    from monge.data.packed import PackedDataset
    from monge.training import cost, launch, lock, loop, resume

    if not launch.is_first():
        return _follow(params, paths)
    folder = paths.checkpoints
    with lock.exclusive(paths.state / _LOCK):
        dataset = PackedDataset.open(paths.prepared)
        afresh = fresh or (if_changed == "fresh" and resume.is_other(params.train, dataset, folder))
        resume.look_ahead(params.train, dataset, folder, afresh=afresh)
        if afresh:
            resume.set_aside(folder)
        key = resume.run_key(folder)
        with tracked(params, paths, key) as run, cost.metered(paths.cost, key):
            describe_training(params, paths, dataset, run)
            return loop.train(params.train, dataset, folder, run)


def _follow(params: Params, paths: Paths) -> Outcome:
    """Train as one of several ranks, whose first one writes."""
    from monge.data.packed import PackedDataset
    from monge.tracking import NullRun
    from monge.training import loop

    with tempfile.TemporaryDirectory() as folder:
        dataset = PackedDataset.open(paths.prepared)
        return loop.train(params.train, dataset, Path(folder), NullRun("follower"))


def launch(params: Params, paths: Paths, *, arguments: Sequence[str]) -> int | None:
    """Where `train.devices` asks for several processes, run `monge` with `arguments` in each.

    The exit code; None where one process is enough, or this is one of several.
    """
    from monge.training import launch as several

    if not several.is_wanted(params.train.devices):
        return None
    return several.launch(params.train.devices, params.train.device, arguments)


def plan(
    params: Params, paths: Paths, *, fresh: bool = False, if_changed: IfChanged = "refuse"
) -> Iterator[str]:
    """What `train` would do and take, in lines; writes nothing and waits for no other training."""
    from monge.data.packed import PackedDataset
    from monge.training.plan import describe

    dataset = PackedDataset.open(paths.prepared)
    how: dict[str, Any] = {"fresh": fresh, "if_changed": if_changed}
    return describe(params.train, dataset, paths.checkpoints, paths.state / _LOCK, **how)


def export(params: Params, paths: Paths, *, unfinished: bool = False) -> tuple[Path, Parity]:
    """The best or last checkpoint's generator to `models/generator.onnx`, held to the network."""
    from monge.contract import Contract
    from monge.data.packed import PackedDataset
    from monge.export import parity
    from monge.export.graph import Form
    from monge.tracking import environment
    from monge.training import labels, resume

    dataset = PackedDataset.open(paths.prepared)
    found = resume.generator(params.train, dataset, paths.checkpoints, params.export)
    if found.last_step < params.train.steps and not unfinished:
        raise CheckpointMismatch(
            f"{paths.checkpoints}: the training is at step {found.last_step} of "
            f"{params.train.steps}. Finish it with `monge train`, or export it as it is with "
            "`monge export --unfinished`."
        )
    log.info("exporting %s", found.choice)
    channels, height, width = dataset.image_shape
    contract = Contract(
        latent_dim=params.train.latent_dim,
        image_shape=(height, width, channels),
        classes=dataset.class_names,
        label_shares=labels.shares(params.train, dataset),
        dataset_hash=dataset.content_hash,
        git_revision=environment(paths.root).get("git.revision"),
        run=resume.run_key(paths.checkpoints),
        step=found.step,
        weights=params.export.weights,
        parameters=params.train.model_dump(by_alias=True),
    )
    form = Form(params.export.variant, params.export.optimize_for)
    return paths.model, parity.write_checked(
        found.network, contract, paths.model, params.export.tolerance, form
    )


def triton(params: Params, paths: Paths, *, folder: Path) -> Path:
    """The exported file as a model repository for Triton; the model's folder in it."""
    from monge.export.triton import write_repository
    from monge.serving.sampler import Sampler

    contract = Sampler.load(paths.model, "cpu").contract
    return write_repository(paths.model.read_bytes(), contract, folder, params.promote.name)

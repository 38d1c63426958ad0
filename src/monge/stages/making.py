"""The stages that make files: prepare, train, export."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from monge.errors import CheckpointMismatch
from monge.params import Params
from monge.paths import Paths
from monge.stages.dvc_lock import runs_this
from monge.stages.steady import steady, steady_code
from monge.stages.tracking import describe_training, tracked

if TYPE_CHECKING:
    from monge.contract import Contract
    from monge.data.packed import PackedDataset
    from monge.export.parity import Parity
    from monge.training.loop import Outcome
    from monge.training.trained import Trained

log = logging.getLogger(__name__)

IfChanged = Literal["refuse", "fresh"]
_LOCK = "train.lock"


def prepare(params: Params, paths: Paths) -> PackedDataset:
    """Images to the packed dataset in `data/prepared`."""
    from monge.data.prepare import prepare as pack

    own = params.prepare.source in ("folder", "archive")
    images = [paths.root / params.prepare.path] if own else []
    with steady(*images, code=("data", "params", "sizes.py", "stages/making.py")):
        return pack(params.prepare, paths.root, paths.downloads, paths.prepared)


def train(
    params: Params, paths: Paths, *, fresh: bool = False, if_changed: IfChanged = "refuse"
) -> Outcome:
    """The packed dataset to checkpoints, going on from the newest one.

    `fresh` starts again; `if_changed` says what to do when the checkpoints on disk are of another
    training: refuse with the differences, or set them aside and start afresh. A training that was
    completed before and lies elsewhere is taken up, save with `fresh`.
    """
    from monge.training.machine import launch

    if not launch.is_first():
        return _follow(params, paths)
    with _same_code(params), steady(paths.prepared, code=()):
        return _train(params, paths, fresh, if_changed)


def _train(params: Params, paths: Paths, fresh: bool, if_changed: IfChanged) -> Outcome:
    """Train as the only process, or the first of several."""
    from monge.data import dvc_cache
    from monge.stages import agreement
    from monge.stages.promoting import require_name
    from monge.training import loop
    from monge.training.checkpoints import checkpoint, earlier, lock, record, resume
    from monge.training.context import Training
    from monge.training.forecast import cost, needs

    folder = paths.checkpoints
    with lock.exclusive(paths.own_state / _LOCK):
        dataset = agreement.prepared(params, paths)
        needs.require(params, dataset)
        training = Training(params.train, dataset, folder)
        dataset.verify()  # a bit that the disk has changed would be learned without a word
        afresh = fresh or (if_changed == "fresh" and resume.is_other(training))
        resume.look_ahead(training, afresh=afresh)
        if afresh or checkpoint.latest(folder) is None:
            require_name(params, paths, dataset)
            caches = dvc_cache.places(paths.root)
            taken = not fresh and earlier.take_up(training, caches)
            if afresh and not taken:
                resume.set_aside(folder)
        key = record.run_key(folder)
        with tracked(params, paths, key) as run, cost.metered(paths.cost, key):
            describe_training(params, paths, dataset, run)
            return loop.train(replace(training, run=run))


@contextmanager
def _same_code(params: Params) -> Iterator[None]:
    """Refuse, after a training that DVC runs, code that decides other bits than it began with.

    What it made is kept: with the code put back it is complete, with the new code it is set aside.
    """
    from monge.training.code.identity import changed, code_identity, nets_identity

    with steady_code():  # an edit between the two would run under the name of the code before it
        before = code_identity(params.train)
        nets_identity(params.train)
        import monge.training.loop  # noqa: F401
    yield
    if not runs_this():
        return
    try:
        other = changed(before, code_identity(params.train, again=True))
    except (OSError, SyntaxError, ValueError) as error:  # in the middle of an edit
        other = [str(error)]
    if other:
        raise CheckpointMismatch(
            f"the code was changed while this training ran ({', '.join(other[:4])}), so that its "
            "checkpoints are of the code before. They are kept: put the code back and run the same "
            "command to take them as they are, or run it now to train anew with the new code."
        )


def _follow(params: Params, paths: Paths) -> Outcome:
    """Train as one of several ranks, whose first one writes."""
    from monge.data.packed import PackedDataset
    from monge.training import loop
    from monge.training.context import Training

    with tempfile.TemporaryDirectory() as folder:
        dataset = PackedDataset.open(paths.prepared)
        return loop.train(Training(params.train, dataset, Path(folder)))


def launch(params: Params, paths: Paths, *, arguments: Sequence[str]) -> int | None:
    """Run `monge` with `arguments` in each of the processes that `train.devices` asks for.

    The exit code; None where one process is enough, or this is one of several.
    """
    from monge.training.machine import launch as several

    if not several.is_wanted(params.train.devices):
        return None
    return several.launch(params.train.devices, params.train.device, arguments)


def plan(
    params: Params, paths: Paths, *, fresh: bool = False, if_changed: IfChanged = "refuse"
) -> Iterator[str]:
    """Tell in lines what `train` would do and take; it writes nothing and waits for no training."""
    from monge.stages import agreement
    from monge.training.context import Training
    from monge.training.forecast import needs
    from monge.training.forecast.plan import describe

    dataset = agreement.prepared(params, paths)
    needs.require(params, dataset)
    how: dict[str, Any] = {"fresh": fresh, "if_changed": if_changed}
    training = Training(params.train, dataset, paths.checkpoints)
    return describe(training, paths.own_state / _LOCK, **how)


def export(params: Params, paths: Paths, *, unfinished: bool = False) -> Exported:
    """The best or last checkpoint's generator to `models/generator.onnx`, held to the network.

    Beside it, of a method that has one, the encoder to `models/encoder/encoder.onnx`.
    """
    with steady(paths.checkpoints, paths.prepared):
        return _export(params, paths, unfinished=unfinished)


class Exported(NamedTuple):
    """The generator file, how far it is from its network, and how far the encoder is."""

    path: Path
    parity: Parity
    encoder: float | None


def _export(params: Params, paths: Paths, *, unfinished: bool) -> Exported:
    from monge.export import parity
    from monge.export.graph import Form
    from monge.stages import agreement
    from monge.training import trained
    from monge.training.context import Training

    dataset = agreement.prepared(params, paths)
    training = Training(params.train, dataset, paths.checkpoints)
    found = trained.generator(training, params.export)
    if found.last_step < params.train.steps and not unfinished:
        raise CheckpointMismatch(
            f"{paths.checkpoints}: the training is at step {found.last_step} of "
            f"{params.train.steps}. Finish it with `monge train`, or export it as it is with "
            "`monge export --unfinished`."
        )
    log.info("exporting %s", found.choice)
    contract = _contract(params, paths, dataset, found)
    form = Form(params.export.variant, params.export.optimize_for)
    proof = parity.write_checked(
        found.network, contract, paths.model, params.export.tolerance, form
    )
    return Exported(paths.model, proof, _export_encoder(params, paths, dataset, found))


def _export_encoder(
    params: Params, paths: Paths, dataset: PackedDataset, found: Trained
) -> float | None:
    """The encoder file of the generator file that was just written, or a note why there is none."""
    from monge.encoder_contract import EncoderContract
    from monge.export.encoder import write_encoder
    from monge.files import write_whole

    note = paths.encoder.with_name("README.md")  # DVC calls an empty folder a mistake
    if found.encoder is None or not params.export.encoder:
        paths.encoder.unlink(missing_ok=True)
        why = f"`train.objective: {params.train.objective}` trains none"
        if found.encoder is not None:
            why = "`export.encoder` is `false`"
        write_whole(note, f"No encoder here: {why}.\n".encode())
        return None
    channels, height, width = dataset.image_shape
    prepared = params.prepare.model_dump(include={"fit", "background", "colour", "levels"})
    contract = EncoderContract(
        latent_dim=params.train.latent_dim,
        image_shape=(height, width, channels),
        generator=hashlib.sha256(paths.model.read_bytes()).hexdigest(),
        preparation=prepared,
    )
    apart = write_encoder(found.encoder, contract, paths.encoder, params.export.tolerance * 10)
    shape = f"[n, {height}, {width}, {channels}]"
    text = f"`encoder.onnx`: images uint8 {shape} to latents of generator {contract.generator}.\n"
    write_whole(note, text.encode())
    return apart


def _contract(params: Params, paths: Paths, dataset: PackedDataset, found: Trained) -> Contract:
    """Make the file's contract: of its training what that noted, of the export what is now."""
    from monge.contract import Contract
    from monge.tracking import code_revision
    from monge.training import labels
    from monge.training.checkpoints import record

    channels, height, width = dataset.image_shape
    code, trained = record.identity(found.made, "code"), record.trained_at(found.made)
    made_with, here = record.made_with(found.made, found.step), code_revision(paths.root)
    now = None if here is None else str(here)
    return Contract(
        latent_dim=params.train.latent_dim,
        image_shape=(height, width, channels),
        classes=dataset.class_names,
        label_shares=labels.shares(params.train, dataset),
        dataset_hash=dataset.content_hash,
        git_revision=trained,
        export_revision=None if now == trained else now,
        code=None if code is None else code.digest,
        run=record.run_key(paths.checkpoints),
        step=found.step,
        weights=params.export.weights,
        parameters=made_with or params.train.model_dump(by_alias=True),
        export_parameters=params.export.model_dump(by_alias=True),
    )


def triton(params: Params, paths: Paths, *, folder: Path) -> Path:
    """The exported file as a model repository for Triton; the model's folder in it."""
    from monge.export.triton import write_repository
    from monge.serving.sampler import Sampler

    contract = Sampler.load(paths.model, "cpu").contract
    return write_repository(paths.model.read_bytes(), contract, folder, params.promote.name)

"""Going on from a checkpoint, or refusing to when it belongs to another training."""

from __future__ import annotations

import json
import logging
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from monge import nets
from monge.data.packed import PackedDataset
from monge.errors import CheckpointMismatch
from monge.files import write_whole
from monge.metrics.pyramid import NAME
from monge.params import ExportParams, TrainParams
from monge.tracking import Run
from monge.training import checkpoint, labels, origin, quality
from monge.training.checkpoint import Checkpoint
from monge.training.fingerprint import differences, fingerprint
from monge.training.state import TrainingState

RUN_KEY = "run.json"

_ABOUT_STEPS = (
    "With train.learning_rate_decay: linear the rate of every step depends on the last one, so "
    "another train.steps is another training; with none it would go on."
)

log = logging.getLogger(__name__)


def resume(
    state: TrainingState, train: TrainParams, dataset: PackedDataset, folder: Path, run: Run
) -> int:
    """Take up the newest whole checkpoint in `folder`, if any; the step it was at, or 0.

    Without one the training begins, with the weights of `train.init_from` where there is one.
    Raises CheckpointMismatch, with the differences, when it is of another training.
    """
    found = checkpoint.latest(folder)
    if found is None:
        origin.begin(state, train, dataset, folder, run)
        return 0
    refuse_other(found, train, dataset, folder)
    state.restore(found.tensors, found.step)
    log.info("going on from %s", found.path)
    if found.step > train.steps:
        log.warning(
            "the checkpoint is beyond train.steps: %d, and no step is taken back. "
            "`monge train --fresh` starts again and ends there.", train.steps,
        )  # fmt: skip
    return found.step


def refuse_other(
    found: Checkpoint, train: TrainParams, dataset: PackedDataset, folder: Path
) -> None:
    """Raise CheckpointMismatch, with the ways on, unless a checkpoint is of this training."""
    changed = differences(found.fingerprint, fingerprint(train, dataset))
    if not changed:
        return
    aside = set_aside_folder(folder)
    ways = [
        "Set these back to go on with it, or start afresh with `monge train --fresh` "
        f"(moves the old ones to {aside})."
    ]
    keys = {line.partition(":")[0] for line in changed}
    if "train.steps" in keys and "train.learning_rate_decay" not in keys:
        ways.insert(0, _ABOUT_STEPS)
    if not origin.mismatches(found.tensors, train, dataset):
        ways.append(
            "Or fine-tune, from the weights they hold: `monge train --if-changed fresh --set "
            f"train.init_from={aside.name}` (to export it too, write that in params.yaml)."
        )
    raise CheckpointMismatch(
        "\n".join(
            [
                f"{folder}: these checkpoints are of another training:",
                *(f"  {line}" for line in changed),
                *ways,
            ]
        )
    )


def is_other(train: TrainParams, dataset: PackedDataset, folder: Path) -> bool:
    """Whether `folder` holds checkpoints of another training; says in the log what differs."""
    found = checkpoint.latest(folder)
    changed = differences(found.fingerprint, fingerprint(train, dataset)) if found else []
    if changed:
        log.info("a new training, because: %s", "; ".join(changed))
    return bool(changed)


@dataclass(frozen=True)
class Trained:
    """A generator out of the checkpoints: the step it is of, and the step the training is at.

    `choice` says in a sentence why it is this one.
    """

    network: nn.Module
    step: int
    last_step: int
    choice: str


def generator(
    train: TrainParams, dataset: PackedDataset, folder: Path, export: ExportParams
) -> Trained:
    """The generator that `export` asks for: of the best or the last checkpoint, averaged or raw.

    A best one that is damaged or gone is named, and the last is taken. Raises CheckpointMismatch
    when there is none, or it is of another training.
    """
    last = checkpoint.latest(folder)
    if last is None:
        raise CheckpointMismatch(f"{folder}: no checkpoint here. Run `monge train` first.")
    refuse_other(last, train, dataset, folder)
    found, choice = last, f"the last checkpoint, of step {last.step}"
    if export.checkpoint == "best":
        found, choice = _best(folder, last)
    network = _network(train, dataset, found, export.weights)
    return Trained(network, found.step, last.step, choice)


def _best(folder: Path, last: Checkpoint) -> tuple[Checkpoint, str]:
    """The checkpoint with the best figure up to the last one, and a sentence about the choice."""
    looks = [look for look in quality.read(folder) if look.step <= last.step]
    best = quality.best(looks)
    instead = f"the last checkpoint, of step {last.step}"
    if best is None:
        return last, f"{instead}, for none has been compared with held-out images yet"
    found = last if best.step == last.step else checkpoint.at(folder, best.step)
    if found is None or found.fingerprint != last.fingerprint:
        log.warning("the best checkpoint, of step %d, cannot be used: taking the last", best.step)
        return last, f"{instead}, for the best one, of step {best.step}, cannot be used"
    sentence = (
        f"the checkpoint of step {best.step}: the best of {len(looks)} looks at held-out images "
        f"({NAME} {best.figure:.4g})"
    )
    if found is not last:
        sentence += f"; `--set export.checkpoint=last` takes that of step {last.step}"
    return found, sentence


def _network(
    train: TrainParams, dataset: PackedDataset, found: Checkpoint, weights: str
) -> nn.Module:
    prefix = ("averaged" if weights == "averaged" else "generator") + "."
    classes = labels.count(train, dataset)
    network = nets.build("generator", train, dataset.image_shape, classes)
    network.load_state_dict(
        {
            name.removeprefix(prefix): t
            for name, t in found.tensors.items()
            if name.startswith(prefix)
        }
    )
    return network.eval()


def look_ahead(train: TrainParams, dataset: PackedDataset, folder: Path, *, afresh: bool) -> None:
    """Before anything is moved or begun: raise InputError where `train.init_from` cannot be used.

    `afresh` tells that the training in `folder` is about to be set aside.
    """
    exists = checkpoint.exists(folder)
    if train.init_from and (afresh or not exists):
        aside = set_aside_folder(folder) if exists else None
        origin.find(train, dataset, folder, aside)


def set_aside_folder(folder: Path) -> Path:
    """Where the checkpoints of the training before are kept: one generation, not versioned."""
    return folder.with_name(folder.name + ".replaced")


def set_aside(folder: Path) -> None:
    """Move a training's folder away, so that the next one starts afresh and nothing is lost.

    One that was stopped before its first checkpoint is removed: it is not worth the training that
    was set aside before it.
    """
    if not checkpoint.exists(folder):
        if folder.exists():
            shutil.rmtree(folder)
        return
    aside = set_aside_folder(folder)
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    log.info("the checkpoints before are kept in %s", aside)


def run_key(folder: Path) -> str:
    """The name under which this training is tracked: chosen once, kept beside the checkpoints."""
    path = folder / RUN_KEY
    try:
        key = json.loads(path.read_text(encoding="utf-8"))["key"]
        if isinstance(key, str) and key.isalnum() and len(key) <= 64:
            return key
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no training here yet, or its name was lost: it gets a new one
    key = secrets.token_hex(6)
    write_whole(path, (json.dumps({"key": key}) + "\n").encode("ascii"))
    return key

"""Going on from a checkpoint, or refusing to when it belongs to another training."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

from monge.errors import CheckpointMismatch
from monge.files import remove
from monge.params import TrainParams
from monge.training.checkpoints import checkpoint, fine_tuning, record
from monge.training.checkpoints.checkpoint import Checkpoint
from monge.training.checkpoints.fingerprint import differences, fingerprint
from monge.training.code.identity import changed as changed_code
from monge.training.code.identity import code_identity, nets_identity
from monge.training.context import Training
from monge.training.state import TrainingState

Part = Literal["code", "nets"]

_ABOUT_STEPS = (
    "As train.learning_rate_decay says, the rate of every step depends on the last one, so "
    "another train.steps is another training; with none it would go on."
)

_NAMED = 4

log = logging.getLogger(__name__)


def resume(state: TrainingState, training: Training) -> int:
    """Take up the newest whole checkpoint of a training, if any; the step it was at, or 0.

    Without one the training begins, with the weights of `train.init_from` where there is one.
    Raises CheckpointMismatch, with the differences, when it is of another training.
    """
    found = checkpoint.latest(training.folder)
    if found is None:
        fine_tuning.begin(state, training)
        return 0
    refuse_other(found, training)
    state.restore(found.tensors, found.step)
    log.info("going on from %s", found.path)
    return found.step


def refuse_other(found: Checkpoint, training: Training, part: Part = "code") -> None:
    """Raise CheckpointMismatch, with the ways on, unless a checkpoint is of this training.

    With `part` nets, other code than that of its networks is no reason.
    """
    changed = _settings_changes(found, training)
    other = code_changes(found, training.params, part)
    folder = training.folder
    if not changed:
        if other:
            raise CheckpointMismatch(_of_other_code(folder, other, part))
        return
    aside = set_aside_folder(folder)
    ways = [
        "Set these back to go on with it, or start afresh with `monge train --fresh` "
        f"(moves the old ones to {aside})."
    ]
    keys = {line.partition(":")[0] for line in changed if " -> " in line}
    if "train.steps" in keys and "train.learning_rate_decay" not in keys:
        ways.insert(0, _ABOUT_STEPS)
    if not fine_tuning.mismatches(found.tensors, training):
        ways.append(
            "Or fine-tune, from the weights they hold: `monge train --if-changed fresh --set "
            f"train.init_from={aside.name}` (to export it too, write that in params.yaml)."
        )
    if other:
        changed.append(f"code: {_listed(other)}")
    raise CheckpointMismatch(
        "\n".join(
            [
                f"{folder}: these checkpoints are of another training:",
                *(f"  {line}" for line in changed),
                *ways,
            ]
        )
    )


def changes(found: Checkpoint, training: Training) -> list[str]:
    """List what makes a checkpoint one of another training, a line each; none if of this one."""
    changed = _settings_changes(found, training)
    other = code_changes(found, training.params)
    return [*changed, f"code: {_listed(other)}"] if other else changed


def _settings_changes(found: Checkpoint, training: Training) -> list[str]:
    """Parameters and data that are others; fewer steps than are done, too: none is taken back."""
    train = training.params
    changed = differences(found.fingerprint, fingerprint(train, training.dataset))
    if found.step > train.steps and not any(line.startswith("train.steps:") for line in changed):
        changed.append(f"train.steps: {found.step} are done, {train.steps} are asked for")
    return changed


def code_changes(found: Checkpoint, train: TrainParams, part: Part = "code") -> list[str]:
    """The definitions that are not what they were when a checkpoint was trained, by name.

    None are named where another net or objective was chosen: that says it.
    """
    chosen = ("train.net", "train.objective")
    if any(found.fingerprint.get(key) != getattr(train, key.partition(".")[2]) for key in chosen):
        return []
    before = record.identity(found.record, part)
    if before is None:
        return ["unknown, by an earlier monge"]
    return changed_code(before, code_identity(train) if part == "code" else nets_identity(train))


def _of_other_code(folder: Path, names: list[str], part: Part) -> str:
    """One line: what changed, and both ways on."""
    if part == "nets":
        return (
            f"{folder}: trained with other networks ({_listed(names)}), so that a file would not "
            "draw what was trained. Put the code back, or train anew with `monge train --fresh`."
        )
    return (
        f"{folder}: trained by other code ({_listed(names)}). Put the code back to go on with it, "
        f"or start afresh with `monge train --fresh` (moves it to {set_aside_folder(folder)})."
    )


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def is_other(training: Training) -> bool:
    """Tell whether the folder holds checkpoints of another training; the log says what differs."""
    found = checkpoint.latest(training.folder)
    changed = changes(found, training) if found else []
    if changed:
        log.info("a new training, because: %s", "; ".join(changed))
    return bool(changed)


def look_ahead(training: Training, *, afresh: bool) -> None:
    """Before anything is moved or begun: raise InputError where `train.init_from` cannot be used.

    `afresh` tells that the training in its folder is about to be set aside.
    """
    folder = training.folder
    exists = checkpoint.exists(folder)
    if training.params.init_from and (afresh or not exists):
        aside = set_aside_folder(folder) if exists else None
        fine_tuning.find(training, aside)


def set_aside_folder(folder: Path) -> Path:
    """Name the folder of the training before, which keeps one generation, not versioned."""
    return folder.with_name(folder.name + ".replaced")


def set_aside(folder: Path) -> None:
    """Move a training's folder away, so that the next one starts afresh and nothing is lost.

    One that was stopped before its first checkpoint is removed: it is not worth the training that
    was set aside before it.
    """
    if not checkpoint.exists(folder):
        remove(folder)
        return
    aside = set_aside_folder(folder)
    remove(aside, ignore_errors=True)
    folder.rename(aside)
    log.info("the checkpoints before are kept in %s", aside)

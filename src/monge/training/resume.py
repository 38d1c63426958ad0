"""Going on from a checkpoint, or refusing to when it belongs to another training."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn

from monge import nets
from monge.data.packed import PackedDataset
from monge.errors import CheckpointMismatch
from monge.files import remove
from monge.metrics.pyramid import NAME
from monge.params import ExportParams, TrainParams
from monge.tracking import Run
from monge.training import checkpoint, labels, origin, quality, record
from monge.training.checkpoint import Checkpoint
from monge.training.code_identity import changed as changed_code
from monge.training.code_identity import code_identity, nets_identity
from monge.training.fingerprint import differences, fingerprint
from monge.training.state import AVERAGED, TrainingState

Part = Literal["code", "nets"]

_ABOUT_STEPS = (
    "As train.learning_rate_decay says, the rate of every step depends on the last one, so "
    "another train.steps is another training; with none it would go on."
)

_NAMED = 4

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
    return found.step


def refuse_other(
    found: Checkpoint,
    train: TrainParams,
    dataset: PackedDataset,
    folder: Path,
    part: Part = "code",
) -> None:
    """Raise CheckpointMismatch, with the ways on, unless a checkpoint is of this training.

    With `part` nets, other code than that of its networks is no reason.
    """
    changed = _settings_changes(found, train, dataset)
    other = code_changes(found, train, part)
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
    if not origin.mismatches(found.tensors, train, dataset):
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


def changes(found: Checkpoint, train: TrainParams, dataset: PackedDataset) -> list[str]:
    """List what makes a checkpoint one of another training, a line each; none if of this one."""
    changed = _settings_changes(found, train, dataset)
    other = code_changes(found, train)
    return [*changed, f"code: {_listed(other)}"] if other else changed


def _settings_changes(found: Checkpoint, train: TrainParams, dataset: PackedDataset) -> list[str]:
    """Parameters and data that are others; fewer steps than are done, too: none is taken back."""
    changed = differences(found.fingerprint, fingerprint(train, dataset))
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


def is_other(train: TrainParams, dataset: PackedDataset, folder: Path) -> bool:
    """Tell whether `folder` holds checkpoints of another training; the log says what differs."""
    found = checkpoint.latest(folder)
    changed = changes(found, train, dataset) if found else []
    if changed:
        log.info("a new training, because: %s", "; ".join(changed))
    return bool(changed)


@dataclass(frozen=True)
class Trained:
    """A generator out of the checkpoints: the step it is of, and the step the training is at.

    `choice` says in a sentence why it is this one; `encoder` is there where the method has one.
    """

    network: nn.Module
    encoder: nn.Module | None
    step: int
    last_step: int
    choice: str
    made: record.Record


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
    refuse_other(last, train, dataset, folder, "nets")
    found, choice = last, f"the last checkpoint, of step {last.step}"
    if export.checkpoint == "best":
        found, choice = _best(folder, last)
    network, encoder = (
        _network(role, train, dataset, found, export.weights) for role in ("generator", "encoder")
    )
    assert network is not None
    made = record.read(folder) or found.record
    return Trained(network, encoder, found.step, last.step, choice, made)


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
    role: str, train: TrainParams, dataset: PackedDataset, found: Checkpoint, weights: str
) -> nn.Module | None:
    """A role's network out of a checkpoint, averaged or raw; None where the method has none.

    Virtual batch norms are fixed by the statistics of just these weights.
    """
    names = {role: name for name, role in AVERAGED.items()} if weights == "averaged" else {}
    prefix = names.get(role, role) + "."
    tensors = {
        name.removeprefix(prefix): tensor
        for name, tensor in found.tensors.items()
        if name.startswith(prefix)
    }
    if not tensors:
        return None
    network = nets.build(role, train, dataset.image_shape, labels.count(train, dataset))
    network.load_state_dict(tensors)
    nets.at_rest(network)
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

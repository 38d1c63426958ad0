"""Going on from a checkpoint, or refusing to when it belongs to another training."""

from __future__ import annotations

import json
import logging
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from monge import nets
from monge.data.packed import PackedDataset
from monge.errors import CheckpointMismatch
from monge.files import write_whole
from monge.params import TrainParams
from monge.training import checkpoint
from monge.training.fingerprint import differences, fingerprint
from monge.training.state import TrainingState

RUN_KEY = "run.json"

log = logging.getLogger(__name__)


def resume(state: TrainingState, folder: Path, identity: Mapping[str, Any]) -> int:
    """Take up the newest whole checkpoint in `folder`, if any; the step it was at, or 0.

    Raises CheckpointMismatch, with the differences, when it is of another training.
    """
    found = checkpoint.latest(folder)
    if found is None:
        return 0
    refuse_other(found.fingerprint, identity, folder)
    state.restore(found.tensors, found.step)
    log.info("going on from %s", found.path)
    return found.step


def refuse_other(before: dict[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Raise CheckpointMismatch unless both fingerprints are the same."""
    changed = differences(before, dict(now))
    if changed:
        lines = "\n".join(f"  {line}" for line in changed)
        raise CheckpointMismatch(
            f"{folder}: these checkpoints are of another training:\n{lines}\n"
            "Set these back to go on with it, or start afresh with `monge train --fresh` "
            f"(moves the old ones to {set_aside_folder(folder)})."
        )


def is_other(train: TrainParams, dataset: PackedDataset, folder: Path) -> bool:
    """Whether `folder` holds checkpoints of another training; says in the log what differs."""
    found = checkpoint.latest(folder)
    changed = differences(found.fingerprint, fingerprint(train, dataset)) if found else []
    if changed:
        log.info("a new training, because: %s", "; ".join(changed))
    return bool(changed)


def generator(
    train: TrainParams, dataset: PackedDataset, folder: Path, weights: str
) -> tuple[nn.Module, int]:
    """The generator of the newest checkpoint, `averaged` or `raw`, and the step it is of.

    Raises CheckpointMismatch when there is none, or it is of another training.
    """
    found = checkpoint.latest(folder)
    if found is None:
        raise CheckpointMismatch(f"{folder}: no checkpoint here. Run `monge train` first.")
    refuse_other(found.fingerprint, fingerprint(train, dataset), folder)
    prefix = ("averaged" if weights == "averaged" else "generator") + "."
    network = nets.build("generator", train, dataset.image_shape)
    network.load_state_dict(
        {
            name.removeprefix(prefix): t
            for name, t in found.tensors.items()
            if name.startswith(prefix)
        }
    )
    return network.eval(), found.step


def set_aside_folder(folder: Path) -> Path:
    """Where the checkpoints of the training before are kept: one generation, not versioned."""
    return folder.with_name(folder.name + ".replaced")


def set_aside(folder: Path) -> None:
    """Move a training's folder away, so that the next one starts afresh and nothing is lost."""
    if not folder.exists():
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

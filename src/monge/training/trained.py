"""A generator out of the checkpoints, as the stages after the training want it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from monge import nets
from monge.errors import CheckpointMismatch
from monge.metrics.pyramid import NAME
from monge.params import ExportParams
from monge.training import labels
from monge.training.checkpoints import checkpoint, record
from monge.training.checkpoints.checkpoint import Checkpoint
from monge.training.checkpoints.resume import refuse_other
from monge.training.context import Training
from monge.training.state import AVERAGED
from monge.training.watch import quality

log = logging.getLogger(__name__)


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


def generator(training: Training, export: ExportParams) -> Trained:
    """The generator that `export` asks for: of the best or the last checkpoint, averaged or raw.

    A best one that is damaged or gone is named, and the last is taken. Raises CheckpointMismatch
    when there is none, or it is of another training.
    """
    folder = training.folder
    last = checkpoint.latest(folder)
    if last is None:
        raise CheckpointMismatch(f"{folder}: no checkpoint here. Run `monge train` first.")
    refuse_other(last, training, "nets")
    found, choice = last, f"the last checkpoint, of step {last.step}"
    if export.checkpoint == "best":
        found, choice = _best(folder, last)
    network, encoder = (
        _network(role, training, found, export.weights) for role in ("generator", "encoder")
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


def _network(role: str, training: Training, found: Checkpoint, weights: str) -> nn.Module | None:
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
    train, dataset = training.params, training.dataset
    network = nets.build(role, train, dataset.image_shape, labels.count(train, dataset))
    network.load_state_dict(tensors)
    nets.at_rest(network)
    return network.eval()

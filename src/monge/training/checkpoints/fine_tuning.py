"""Fine-tuning: a new training that starts with the weights of another one's checkpoint.

`train.init_from` names a folder of checkpoints, or one of them. The networks start with its raw
weights, which were trained against each other; the averaged generator starts as a copy of the
raw one, as in any training. Optimizers, random numbers and the step start anew.

It is read when a training begins and never again: a training that goes on has its weights in its
own checkpoints, and needs no folder that may have changed or gone. Which weights it began with is
kept beside them, with their hash.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from monge import nets, objectives
from monge.data.packed import PackedDataset
from monge.errors import InputError
from monge.files import write_whole
from monge.params import TrainParams
from monge.training import labels
from monge.training.checkpoints import checkpoint
from monge.training.checkpoints.checkpoint import Checkpoint
from monge.training.checkpoints.record import ORIGIN, origin
from monge.training.context import Training
from monge.training.state import AVERAGED, TrainingState

_LISTED = 8

log = logging.getLogger(__name__)


def begin(state: TrainingState, training: Training) -> None:
    """Give a new training the weights that `train.init_from` names, if it names any.

    Raises InputError when they cannot be had or do not fit.
    """
    named, folder = training.params.init_from, training.folder
    if not named:
        (folder / ORIGIN).unlink(missing_ok=True)  # of a start before this one
        return
    found = find(training)
    for role, network in state.networks.items():
        network.load_state_dict(_of(found.tensors, role))
    for name, average in state.averages.items():
        average.module.load_state_dict(state.networks[AVERAGED[name]].state_dict())
    digest = checkpoint.digest(found.path)
    facts = {"init_from": named, "step": found.step, "tensors_sha256": digest}
    write_whole(folder / ORIGIN, (json.dumps(facts, indent=1) + "\n").encode("utf-8"))
    training.run.tags({f"origin.{name}": str(value) for name, value in facts.items()})
    log.info("starting with the weights of %s", found.path)


def began_as(training: Training, file: Path) -> bool:
    """Tell whether a training, by its `ORIGIN`, began with the weights that are named now.

    Where they are gone there is nothing to compare with: it is taken for one that did.
    """
    if not training.params.init_from:
        return True
    try:
        now = checkpoint.digest(find(training).path)
    except (InputError, OSError):
        return True
    return origin(file).get("tensors_sha256") == now


def find(training: Training, aside: Path | None = None) -> Checkpoint:
    """The whole checkpoint that `train.init_from` names: the newest of a folder, or the one.

    The path is relative to the folder that the training's lies in, the project's. `aside` is where
    the training's is about to be moved: what will be there is looked for where it still is.
    Raises InputError.
    """
    train, folder = training.params, training.folder
    named = (folder.parent / train.init_from).resolve()
    note = f" (where --fresh moves what is in {folder.name} now)"
    if aside is not None and named.is_relative_to(aside.resolve()):
        found = _read(train.init_from, folder / named.relative_to(aside.resolve()), note)
    elif named.is_relative_to(folder.resolve()):
        raise InputError(
            f"train.init_from: {train.init_from} is where this training's own checkpoints go. "
            f"`--fresh` moves what is there to {folder.name}.replaced: name that."
        )
    else:
        found = _read(train.init_from, named, "")
    differing = mismatches(found.tensors, training)
    if differing:
        more = len(differing) - _LISTED
        lines = "\n".join(f"  {line}" for line in differing[:_LISTED])
        raise InputError(
            f"train.init_from: the networks of {train.init_from} are not those of this training:\n"
            f"{lines}\n{f'  and {more} more' + chr(10) if more > 0 else ''}"
            "Set train.net, its section, train.latent_dim, train.conditional and the images to "
            'what they were there, or start from random weights (train.init_from: "").'
        )
    return found


def mismatches(tensors: Mapping[str, Tensor], training: Training) -> list[str]:
    """One line for each tensor of the networks that is not the same shape there and here."""
    here = _shapes(training.params, training.dataset)
    there = {
        name: list(tensor.shape)
        for name, tensor in tensors.items()
        if name.partition(".")[0] not in (*AVERAGED, "optimizer", "noise")
    }
    lines = []
    for name in [*here, *sorted(there.keys() - here.keys())]:
        if here.get(name) != there.get(name):
            lines.append(f"{name}: {there.get(name, 'none')} there, {here.get(name, 'none')} here")
    return lines


def _shapes(train: TrainParams, dataset: PackedDataset) -> dict[str, list[int]]:
    """Every tensor of the networks by name; nothing is computed."""
    classes = labels.count(train, dataset)
    with torch.device("meta"):
        built: dict[str, nn.Module] = {
            role: nets.build(role, train, dataset.image_shape, classes)
            for role in objectives.build(train).roles
        }
    return {
        f"{role}.{name}": list(tensor.shape)
        for role, network in built.items()
        for name, tensor in network.state_dict().items()
    }


def _read(name: str, path: Path, note: str) -> Checkpoint:
    """The checkpoint at `path`, or the newest in it. `name` and `note` are for the message."""
    if not path.is_dir():
        what = "is not a folder" if path.exists() else "no such folder"
        raise InputError(f"train.init_from: {name}: {what}{note}. Name a folder of checkpoints.")
    found = checkpoint.only(path) if checkpoint.is_one(path) else checkpoint.latest(path)
    if found is None:
        raise InputError(
            f"train.init_from: {name}: holds no whole checkpoint{note}. Name a folder with "
            "step-... folders in it, or one of them."
        )
    return found


def _of(tensors: Mapping[str, Tensor], role: str) -> dict[str, Tensor]:
    prefix = f"{role}."
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }

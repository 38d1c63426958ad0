"""Checkpoints on disk: whole or not at all, checked on reading, and never a pickle.

step-00001000/
  tensors.safetensors    networks, averaged generator, optimizers, random state
  state.json             step, fingerprint, the training's record, format version
  SHA256SUMS             of the two, in the format of `sha256sum --check`
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from monge.errors import StorageError
from monge.files import remove, sha256, sync

FORMAT_VERSION = 2
_KNOWN = (1, 2)
"""Version 1 has no record: which code trained it is not known."""

_NAME = re.compile(r"step-(\d{8,})")
_TENSORS, _STATE, _SUMS = "tensors.safetensors", "state.json", "SHA256SUMS"
_MAX_STATE_BYTES = 4 << 20

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and found whole."""

    path: Path
    step: int
    fingerprint: dict[str, Any]
    tensors: dict[str, Tensor]
    record: dict[str, Any]


def write(
    folder: Path,
    step: int,
    tensors: Mapping[str, Tensor],
    fingerprint: Mapping[str, Any],
    record: Mapping[str, Any] | None = None,
) -> Path:
    """Write one checkpoint: into a hidden folder, synced, then renamed into place.

    Raises StorageError when the disk is full or the folder read-only; older ones stay whole.
    """
    final = folder / f"step-{step:08d}"
    partial = folder / f".partial-{final.name}"
    state = {
        "format_version": FORMAT_VERSION,
        "step": step,
        "fingerprint": dict(fingerprint),
        "training": dict(record or {}),
    }
    try:
        remove(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _write_tensors(partial / _TENSORS, tensors)
        _write_text(partial / _STATE, json.dumps(state, indent=1, sort_keys=True) + "\n")
        sums = [f"{sha256(partial / name)}  {name}\n" for name in (_TENSORS, _STATE)]
        _write_text(partial / _SUMS, "".join(sums))
        sync(partial)
        remove(final)  # a damaged one of the same step that training has passed again
        partial.rename(final)
        sync(folder)
    except OSError as error:
        remove(partial, ignore_errors=True)
        raise StorageError(
            f"{final}: the checkpoint cannot be written ({error.strerror or error}). Earlier ones "
            "are whole: make room or allow writing there, then run the same command to go on."
        ) from None
    return final


def latest(folder: Path) -> Checkpoint | None:
    """The newest whole checkpoint; a damaged one is named and skipped for the one before it."""
    for path in sorted(_checkpoints(folder), key=_step, reverse=True):
        try:
            return _read(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s: damaged (%s): going back to the one before it", path, error)
    return None


def at(folder: Path, step: int) -> Checkpoint | None:
    """The checkpoint of a step; None, and a line in the log, when it is damaged or missing."""
    return only(folder / f"step-{step:08d}")


def only(path: Path) -> Checkpoint | None:
    """The checkpoint at `path`; None, and a line in the log, when it is damaged or missing."""
    try:
        return _read(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s: damaged (%s)", path, error)
        return None


def is_one(path: Path) -> bool:
    """Tell whether a path is named like a checkpoint, and not like a folder of them."""
    return _NAME.fullmatch(path.name) is not None


def exists(folder: Path) -> bool:
    """Tell whether `folder` holds any checkpoint, damaged ones counted."""
    return bool(_checkpoints(folder))


def digest(path: Path) -> str:
    """SHA-256 of the tensors of a checkpoint that was read, as its SHA256SUMS has it."""
    sums = dict(line.split("  ")[::-1] for line in (path / _SUMS).read_text("ascii").splitlines())
    return sums[_TENSORS]


def prune(folder: Path, keep: int, records: Sequence[int] = ()) -> None:
    """Remove what a killed write left behind and all but the newest `keep` checkpoints.

    `records` are the steps that were the best so far, in order. The latest of them up to each kept
    checkpoint stays too: the best is then there whichever of these a training goes on from.
    """
    steps = sorted(_step(path) for path in _checkpoints(folder))
    stay = set(steps[-keep:])
    stay |= {max((r for r in records if r <= step), default=step) for step in steps[-keep:]}
    for path in _checkpoints(folder):
        if _step(path) not in stay:
            remove(path, ignore_errors=True)
    for path in folder.glob(".partial-*"):
        remove(path, ignore_errors=True)


def _checkpoints(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()]


def _step(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else -1


def _read(path: Path) -> Checkpoint:
    """Read and check one; raises ValueError, KeyError, TypeError or OSError with what is wrong."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    sums = dict(line.split("  ")[::-1] for line in (path / _SUMS).read_text("ascii").splitlines())
    for name in (_TENSORS, _STATE):
        if sha256(path / name) != sums[name]:
            raise ValueError(f"{name} does not match its checksum")
    if (path / _STATE).stat().st_size > _MAX_STATE_BYTES:
        raise ValueError(f"{_STATE} is absurdly large")
    state = json.loads((path / _STATE).read_text("utf-8"))
    if state["format_version"] not in _KNOWN:
        raise ValueError(f"format version {state['format_version']} is not {FORMAT_VERSION}")
    if state["step"] != _step(path):
        raise ValueError(f"it holds step {state['step']}")
    try:
        tensors = load_file(path / _TENSORS)
    except SafetensorError as error:
        raise ValueError(str(error)) from None
    return Checkpoint(path, state["step"], state["fingerprint"], tensors, state.get("training", {}))


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:  # it wraps the OSError of a full disk
        raise OSError(str(error)) from None
    sync(path)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    sync(path)

"""Records what a training says of itself, beside and inside its checkpoints: `training.json`.

    key        the name under which it is tracked, chosen once
    code       the identity of the code that decides its bits, and of its networks alone
               (training.code_identity)
    sessions   one for each stretch with the same settings: from which step on, all of `train` in
               `params.yaml` (the part that changes no weight may differ from one to the next), the
               git revision and whether the tree was changed, and the versions of what computes

A training that only went on after a kill has one session. One that was at its end and was asked
again under other settings, of those that change no weight, has a last session without a step.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from monge.files import write_whole
from monge.params import TrainParams
from monge.tracking import code_revision
from monge.tracking.revision import CHANGED
from monge.training.checkpoints.fingerprint import fingerprint
from monge.training.code.identity import CodeIdentity, code_identity, nets_identity
from monge.training.context import Training

FILE = "training.json"
ORIGIN = "origin.json"
"""Beside it, of a training that began with another one's weights: whose."""

_COMPUTING = ("torch", "numpy")
_MACHINE = ("device", "devices", "threads", "capture")
"""Parameters that make no other training, and may yet round the last bits otherwise."""

_MAX_BYTES = 4 << 20

Record = dict[str, Any]

log = logging.getLogger(__name__)


def read(folder: Path) -> Record | None:
    """The record beside the checkpoints of `folder`; None where there is none, or a damaged one."""
    path = folder / FILE
    try:
        if path.stat().st_size > _MAX_BYTES:
            return None
        return _checked(json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def run_key(folder: Path) -> str:
    """The name under which the training of `folder` is tracked, kept from the first call on."""
    return str(_read_or_begin(folder)["key"])


def begin(training: Training, step: int) -> tuple[dict[str, Any], Record]:
    """Write down that a training goes on from `step` with these settings.

    What its checkpoints carry: the fingerprint and the record.
    """
    train, folder = training.params, training.folder
    before = _read_or_begin(folder)
    earlier = [known for known in before["sessions"] if known["from_step"] < step]
    if earlier and step >= train.steps:  # what is here now takes no step: it made nothing
        made = {name: earlier[-1][name] for name in ("revision", "difference", "versions")}
        session = {"from_step": step, "parameters": train.model_dump(by_alias=True), **made}
    else:
        session = _session(folder, train, step)
        if earlier:
            _tell_other_versions(earlier[-1], session)
    if not earlier or _settings(earlier[-1]) != _settings(session):
        earlier.append(session)
    record = {
        "key": before["key"],
        "code": code_identity(train).to_json(),
        "nets": nets_identity(train).to_json(),
        "sessions": earlier,
    }
    if record != before:
        _write(folder, record)
    return fingerprint(train, training.dataset), record


def _session(folder: Path, train: TrainParams, step: int) -> Record:
    at = code_revision(folder.absolute().parent)
    return {
        "from_step": step,
        "parameters": train.model_dump(by_alias=True),
        "revision": None if at is None else str(at),
        "difference": None if at is None else _keep_difference(folder, at.difference),
        "versions": {package: metadata.version(package) for package in _COMPUTING},
    }


def parameters(record: Record) -> dict[str, Any] | None:
    """The section `train` that the training was last asked for; None in an old record."""
    sessions = record.get("sessions") or []
    return dict(sessions[-1]["parameters"]) if sessions else None


def made_with(record: Record, step: int) -> dict[str, Any] | None:
    """The section `train` as the weights of a step were made with it; None in an old record.

    That is what was asked for last, but for the machine: of a training that was at its end and was
    asked again with other threads, say, it is the one that computed.
    """
    asked = parameters(record)
    before = [session for session in record.get("sessions") or [] if session["from_step"] < step]
    if asked is None or not before:
        return asked
    computed = before[-1]["parameters"]
    return asked | {key: computed[key] for key in _MACHINE if key in computed}


def trained_at(record: Record) -> str | None:
    """The revision under which the last of its steps were taken."""
    sessions = record.get("sessions") or []
    found: str | None = sessions[-1]["revision"] if sessions else None
    return found


def environment(record: Record) -> dict[str, str]:
    """Tell the code and the packages of the last of its steps, as a run's tags."""
    last = (record.get("sessions") or [{}])[-1]
    tags = {f"version.{package}": text for package, text in last.get("versions", {}).items()}
    at = last.get("revision")
    if at is None:
        return tags
    dirty = str(at.endswith(CHANGED)).lower()
    return tags | {"git.revision": at.removesuffix(CHANGED), "git.dirty": dirty}


def identity(record: Record, part: Literal["code", "nets"]) -> CodeIdentity | None:
    """The code that made the weights, or its networks alone; None where it was not noted."""
    found = record.get(part)
    return None if found is None else CodeIdentity.from_json(found)


def origin(file: Path) -> dict[str, str]:
    """Read whose weights a training began with, from `ORIGIN`; nothing where it does not say."""
    try:
        found = json.loads(file.read_bytes()) if file.stat().st_size <= _MAX_BYTES else {}
        return {name: str(found[name]) for name in ("init_from", "tensors_sha256")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def difference(record: Record, folder: Path) -> bytes | None:
    """The tree's difference from the revision of the last steps, as `git apply` reads it."""
    sessions = record.get("sessions") or []
    name = sessions[-1]["difference"] if sessions else None
    return (folder / name).read_bytes() if name and (folder / name).is_file() else None


def _settings(session: Record) -> Record:
    return {name: value for name, value in session.items() if name != "from_step"}


def _keep_difference(folder: Path, text: str) -> str | None:
    """Keep a difference beside the record, by its hash; the file's name."""
    if not text:
        return None
    data = text.encode("utf-8", "surrogateescape")
    name = f"changes-{hashlib.sha256(data).hexdigest()[:12]}.patch"
    write_whole(folder / name, data)
    return name


def _tell_other_versions(earlier: Record, session: Record) -> None:
    """Say when another torch goes on: the last bits of what it computes may be others."""
    for package, now in session["versions"].items():
        before = earlier["versions"].get(package)
        if before != now:
            log.warning("going on with %s %s; the steps so far took %s", package, now, before)


def _checked(found: Any) -> Record:
    """Raise ValueError, KeyError or TypeError unless it reads as a record."""
    key = found["key"]
    if not (isinstance(key, str) and key.isalnum() and len(key) <= 64):
        raise ValueError("no key")
    for session in found["sessions"]:
        session["parameters"].items(), session["versions"].items(), session["revision"]
        if not isinstance(session["from_step"], int):
            raise ValueError("no step")
        name = session["difference"]
        if name is not None and Path(name).name != name:
            raise ValueError("no file's name")
    identity(found, "code"), identity(found, "nets")
    return dict(found)


def _read_or_begin(folder: Path) -> Record:
    found = read(folder)
    if found is None:
        found = {"key": secrets.token_hex(6), "code": None, "nets": None, "sessions": []}
        _write(folder, found)
    return found


def _write(folder: Path, record: Record) -> None:
    text = json.dumps(record, indent=1, sort_keys=True) + "\n"
    write_whole(folder / FILE, text.encode("utf-8"))

"""Keeps what brings a generator back: code, parameters and data, whatever was committed when.

The files are kept with the run and with the registered version. The revision is that of the tree
that `dvc.lock` was written in, with its difference from the commit; the lock names the data by the
hashes under which DVC keeps them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import yaml

from monge.credentials import bare
from monge.errors import InputError, ModelFileError, MongeError
from monge.params import PARAMS_FILE, Params, load
from monge.paths import Paths
from monge.products import STAGES, home
from monge.stages import dvc_lock, lock_and_code
from monge.tracking.revision import CHANGED, code_revision, last_change
from monge.training.checkpoints import record
from monge.versions.dvc import Tracked

if TYPE_CHECKING:
    from monge.contract import Contract

FOLDER = "lineage"
FACTS = "lineage.json"
CHANGES = "changes.patch"
TRAINING_CHANGES = "training.patch"
"""The difference from its commit under which the training was, which may be an older one."""

PLACED = "files"
"""In the folder: what goes to its place in a clone, as it is."""

_METRICS = "reports/metrics.json"

Files = dict[str, bytes]


def files(params: Params, paths: Paths, contract: Contract | None = None) -> Files:
    """Everything by its name in the folder: facts, parameters, lock, data's hashes, difference."""
    lock, found = dvc_lock.text(paths), {f"{PLACED}/params.yaml": _parameters(params, paths)}
    if lock is not None and (contract is None or dvc_lock.is_of_model(paths)):
        found[f"{PLACED}/dvc.lock"] = lock
    # What DVC leaves to git: the hash of the images, and the figures.
    # A product's own folder need not be in git at all, and a sweep's trial has no stages.
    own = home(paths.root) != paths.root.resolve() and (paths.root / STAGES).is_file()
    stages = [STAGES] if own else []
    kept_by_git = [
        *stages,
        *_data_files(params, paths),
        *([_METRICS] if contract is not None else []),
    ]
    for name in kept_by_git:
        found[f"{PLACED}/{name}"] = (paths.root / name).read_bytes()
    trained = record.difference(record.read(paths.checkpoints) or {}, paths.checkpoints)
    at, difference, note = _code(paths, contract, trained or b"")
    if difference:
        found[CHANGES] = difference
    facts = {
        "revision": at,
        "note": note,
        "data": data_hashes(params, paths),
        "by_hand": _by_hand(params, paths),
        "missing": _missing(params, paths, contract, found, at),
    }
    if contract is not None:
        if trained is not None:
            found[TRAINING_CHANGES] = trained
        facts |= {
            "model_sha256": hashlib.sha256(paths.model.read_bytes()).hexdigest(),
            "training_revision": contract.git_revision,
            "export_revision": contract.export_revision or contract.git_revision,
            "code": contract.code,
            "dataset_hash": contract.dataset_hash,
            "run": contract.run,
        }
    return found | {FACTS: (json.dumps(facts, indent=1) + "\n").encode("utf-8")}


def _code(paths: Paths, contract: Contract | None, trained: bytes) -> tuple[str | None, bytes, str]:
    """The revision to check out and the difference to apply, and a note on them, or none.

    Those of now, where the lock's stages ran with that code; of the training, where it was edited
    since.
    """
    if contract is None or lock_and_code.has_this_code(paths):
        now = code_revision(paths.root)
        if now is None:
            return None, b"", ""
        return str(now), now.difference.encode("utf-8", "surrogateescape"), ""
    note = "the code was changed after the training: this is the training's"
    return contract.git_revision, trained, note


def _missing(
    params: Params, paths: Paths, contract: Contract | None, found: Files, at: str | None
) -> str:
    """Why the file cannot be made again from what is kept, in a few words; none where it can."""
    if contract is None:
        return "it is of a training that has just begun"
    if f"{PLACED}/dvc.lock" not in found:
        return "dvc.lock was not of this file, which was made by hand"
    if at is None:
        return "the code was not in git"
    if found.get(CHANGES, b"").startswith(b"# "):
        return f"the code's difference from commit {at.removesuffix(CHANGED)} was too long to keep"
    named = [name for name in _data_files(params, paths) if not _is_named(params, paths, name)]
    if named:
        return f"the images had changed since {named[0]} was written (`dvc add` writes it anew)"
    return ""


def _by_hand(params: Params, paths: Paths) -> list[str]:
    """Name what neither git nor DVC keeps: such images, and the weights that it began with."""
    path, lines = params.prepare.path, []
    own = params.prepare.source in ("folder", "archive")
    if own and not _data_files(params, paths) and not last_change(paths.root, [path]):
        lines = [f"# bring {shlex.quote(path)} by hand: neither git nor DVC keeps these images"]
    began = record.origin(paths.checkpoints / record.ORIGIN)
    if began:
        place, digest = shlex.quote(began["init_from"]), began["tensors_sha256"]
        lines += [f"# bring {place} by hand: it began with tensors.safetensors of {digest[:12]}..."]
    return lines


def _is_named(params: Params, paths: Paths, name: str) -> bool:
    """Tell whether the hash in a .dvc file is that of the images which the lock's prepare read."""
    if name != f"{params.prepare.path}.dvc":  # of a folder around them: its hash is another one
        return True
    kept = data_hashes(params, paths).get(params.prepare.path)
    try:
        return kept is None or Tracked(paths.root, params.prepare.path).hash() == kept
    except InputError:
        return False


def beside(found: Files) -> Files:
    """The same by their names beside a version's file in the registry."""
    return {f"{FOLDER}/{name}": data for name, data in found.items()}


def data_hashes(params: Params, paths: Paths) -> dict[str, str]:
    """The hashes under which DVC keeps the source's images and the packed ones, by path."""
    return dvc_lock.hashes(paths, "prepare", (params.prepare.path, "data/prepared"))


def data_tags(params: Params, paths: Paths) -> dict[str, str]:
    """List what a run and a version say of their data: DVC's hashes, and the commit that has it.

    The commit is the last one that changed the images, or the file by which DVC versions them,
    with a mark where they were changed since. `monge.experiment` is DVC's name for an experiment.
    """
    tags = {f"dvc.{path}": md5 for path, md5 in data_hashes(params, paths).items()}
    own = params.prepare.source in ("folder", "archive")
    names = _data_files(params, paths) or ([params.prepare.path] if own else [])
    found = last_change(paths.root, names) if names else None
    if (
        found
        and not found.endswith(CHANGED)
        and not all(_is_named(params, paths, name) for name in _data_files(params, paths))
    ):
        found += CHANGED
    experiment = os.environ.get("DVC_EXP_NAME")
    told = {"monge.data_revision": found, "monge.experiment": experiment}
    return tags | {name: text for name, text in told.items() if text}


def commands(folder: Path, root: Path) -> list[str]:
    """The shell commands that make a version again in a fresh clone; `folder` holds its files.

    Raises ModelFileError where the registry's own copy of them is damaged.
    """
    try:
        facts: dict[str, Any] = json.loads((folder / FACTS).read_bytes())
    except (OSError, ValueError) as error:
        raise ModelFileError(
            f"{folder / FACTS}: cannot be read ({error}), as the registry keeps it. Its parameters "
            f"are in {folder / PLACED}; `monge promote` keeps a file of yours anew."
        ) from None
    by_hand = "" if facts.get("complete") else "dvc.lock was not of this file"  # an older monge's
    missing = facts.get("missing", by_hand)
    if missing:
        return [
            f"# It cannot be made again to the byte: {missing}.",
            f"# Its parameters are known: {shlex.quote(str(folder / PLACED / 'params.yaml'))}",
        ]
    changed, place = (folder / CHANGES).exists(), os.path.relpath(root.resolve(), home(root))
    commit = facts["revision"].removesuffix(CHANGED)
    return [
        *([f"# {facts['note']}"] if facts.get("note") else []),
        f"git clone {shlex.quote(_origin(home(root)))} again",
        "cd again",
        f"git checkout --quiet --detach {commit}",
        *([f"git apply {shlex.quote(str(folder / CHANGES))}"] if changed else []),
        *([] if place == "." else [f"mkdir -p {shlex.quote(place)}", f"cd {shlex.quote(place)}"]),
        f"cp -R {shlex.quote(str(folder / PLACED))}/. .",
        "# with an environment: make .venv/ready && . .venv/bin/activate",
        *_pull(home(root)),
        *facts.get("by_hand", []),
        "dvc repro  # makes what is not there",
        f"sha256sum models/generator.onnx  # {facts['model_sha256']}",
    ]


def _parameters(params: Params, paths: Paths) -> bytes:
    """The text that the parameters were read from, or what they are if it was overridden."""
    path = Path(os.environ.get(PARAMS_FILE, paths.root / "params.yaml"))
    try:
        if load(path) == params:
            return path.read_bytes()
    except (OSError, MongeError):
        pass
    document = params.model_dump(by_alias=True, mode="json")
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True).encode("utf-8")


def _data_files(params: Params, paths: Paths) -> list[str]:
    """The .dvc files that version the source's images, or a folder that they are in."""
    path = PurePosixPath(params.prepare.path)
    if path.is_absolute() or ".." in path.parts:
        return []
    names = [f"{place}.dvc" for place in (path, *path.parents) if place.name]
    return [name for name in names if (paths.root / name).is_file()]


def _pull(root: Path) -> list[str]:
    """Fetch from DVC's remote, where one is set for everybody or for this checkout."""
    for name in ("config", "config.local"):
        path = root / ".dvc" / name
        if path.is_file() and "remote" in path.read_text(encoding="utf-8", errors="replace"):
            return ["dvc pull --allow-missing  # what the remote has of data, weights and model"]
    return ["# no DVC remote is set (dvc remote add): the images must be brought by hand"]


def _origin(root: Path) -> str:
    asked = subprocess.run(
        ["git", "config", "--get", "remote.origin.url"], cwd=root, capture_output=True, text=True
    )
    return bare(asked.stdout.strip()) or str(root)

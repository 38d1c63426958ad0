"""Reads from `dvc.lock` what made each output, beside what the outputs say themselves.

DVC writes the command of a stage, which has all its parameters, when the stage has ended. What it
cannot see is a lock that was made to say something else: `dvc commit --force` after an edit, a
merge, a file from elsewhere. The outputs carry the parameters that they were made with, so each
door compares the two, and an entry that is not true is taken out: the stage then runs again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from monge import parameter_line, signatures
from monge.errors import ModelFileError, ParamsError
from monge.files import storing, write_whole
from monge.params import Params
from monge.paths import Paths

STAGES = ("prepare", "train", "export", "evaluate")
_BY_DVC = "DVC_STAGE"  # DVC sets it for the command of a stage
_MAX_BYTES = 16 << 20
_HASH = re.compile(r"[0-9a-f]{32}(\.dir)?")

Section = dict[str, Any]


def runs_this() -> bool:
    """Tell whether it is DVC that runs this command, and writes `dvc.lock` after it."""
    return _BY_DVC in os.environ


def sections_before(stage: str, paths: Paths) -> dict[str, Section]:
    """The parameters that `dvc.lock` has for the stages before this one, where it has any."""
    before = STAGES[: STAGES.index(stage)] if stage in STAGES else ()
    claimed = {name: _claimed(_read(paths), name) for name in before}
    return {name: section for name, section in claimed.items() if section is not None}


def untrue(paths: Paths) -> dict[str, str]:
    """The stages whose outputs say that they were made otherwise than `dvc.lock` has it, and how.

    So does a generator file that is damaged. A stage that the lock does not have, or whose output
    is not there, says nothing.
    """
    lock, found = _read(paths), {}
    for name, section_of in _RECORDED.items():
        claimed = _claimed(lock, name)
        if claimed is None:
            continue
        try:
            recorded = section_of(paths)
        except ModelFileError as error:
            found[name] = str(error)
            continue
        if recorded is not None and claimed != recorded:
            found[name] = "; ".join(differences(_flat(name, recorded), _flat(name, claimed)))
    return found


def distrust(paths: Paths, stage: str) -> bool:
    """Take a stage's entry out of `dvc.lock`, so that it runs again; whether there was one.

    What DVC's cache has of it goes, too, where it is damaged: DVC would not write it anew.
    """
    from monge.versions import cached

    lock = _read(paths)
    entry = lock.get("stages", {}).pop(stage, None)
    if entry is None:
        return False
    for item in entry.get("outs", []):
        for place in cached.damaged(paths.root, item["md5"]).values():
            place.unlink()
    text = yaml.safe_dump(lock, sort_keys=False, allow_unicode=True, width=80)
    write_whole(_path(paths), text.encode("utf-8"))
    return True


def set_aside_cut(paths: Paths) -> Path | None:
    """Move away a lock that DVC would refuse, such as one that was cut; where it is now.

    DVC then runs the stages again, and a training that was completed is taken up as it is.
    """
    if not _path(paths).is_file() or _read(paths):
        return None
    aside = paths.own_state / "dvc.lock.cut"
    with storing(aside):
        aside.parent.mkdir(parents=True, exist_ok=True)
        os.replace(_path(paths), aside)
    return aside


def text(paths: Paths) -> bytes | None:
    """The lock as it is, if there is one that can be read."""
    return _path(paths).read_bytes() if _read(paths) else None


def hashes(paths: Paths, stage: str, names: Iterable[str]) -> dict[str, str]:
    """DVC's hashes of a stage's inputs and outputs by path, of those that the lock has."""
    entry = _read(paths).get("stages", {}).get(stage, {})
    known = {str(item["path"]): str(item["md5"]) for item in _items(entry)}
    return {name: known[name] for name in names if name in known}


def is_of_model(paths: Paths) -> bool:
    """Tell whether the generator file is the one that the lock's export made."""
    name = paths.model.relative_to(paths.root).as_posix()
    kept = hashes(paths, "export", (name,)).get(name)
    return kept == hashlib.md5(paths.model.read_bytes(), usedforsecurity=False).hexdigest()


def dependencies(paths: Paths) -> set[tuple[str, str]]:
    """List what the lock's stages depend on: path and DVC's hash. Of two hashes both are there."""
    entries = _read(paths).get("stages", {}).values()
    return {(str(i["path"]), str(i["md5"])) for entry in entries for i in entry.get("deps", [])}


def differences(made: Section, asked: Section) -> list[str]:
    """A line for each parameter: `train.seed: 1 was used, 2 is asked for`."""
    return [
        f"{key}: {made.get(key, 'none')} was used, {asked.get(key, 'none')} is asked for"
        for key in sorted(made.keys() | asked.keys())
        if made.get(key) != asked.get(key)
    ]


def _flat(prefix: str, section: Section) -> Section:
    flat: Section = {}
    for key, value in section.items():
        name = f"{prefix}.{key}"
        flat |= _flat(name, value) if isinstance(value, dict) else {name: value}
    return flat


def _path(paths: Paths) -> Path:
    return paths.root / "dvc.lock"


def _read(paths: Paths) -> dict[str, Any]:
    path = _path(paths)
    try:
        if path.stat().st_size > _MAX_BYTES:
            return {}
        text = path.read_text(encoding="utf-8")
        found = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError):
        return {}  # none yet, or one that DVC will refuse itself
    return found if text.endswith("\n") and _is_whole(found) else {}


def _is_whole(lock: Any) -> bool:
    """Tell whether each stage has its command, and a hash for each of its inputs and outputs."""
    try:
        return all(
            isinstance(stage["cmd"], str | list)
            and all(_HASH.fullmatch(item["md5"]) and item["path"] for item in _items(stage))
            for stage in lock["stages"].values()
        )
    except (AttributeError, KeyError, TypeError):
        return False


def _items(stage: dict[str, Any]) -> list[dict[str, Any]]:
    return [*stage.get("deps", []), *stage.get("outs", [])]


def _claimed(lock: dict[str, Any], stage: str) -> Section | None:
    """All parameters of a stage by its command in the lock; None where it has no such command."""
    entry = lock.get("stages", {}).get(stage)
    words = parameter_line.words_of(str(entry.get("cmd"))) if isinstance(entry, dict) else None
    if words is None:
        return None
    try:
        whole = Params.model_validate({stage: parameter_line.parse(stage, words)})
    except (ParamsError, ValidationError):  # of a monge that had other parameters
        return None
    return dict(whole.model_dump(by_alias=True)[stage])


def _prepared(paths: Paths) -> Section | None:
    return _json(paths.prepared / "manifest.json").get("params")


def _trained(paths: Paths) -> Section | None:
    sessions = _json(paths.checkpoints / "training.json").get("sessions")
    return sessions[-1]["parameters"] if sessions else None


def _exported(paths: Paths) -> Section | None:
    from monge.serving.sampler import Sampler

    if signatures.is_required() or not paths.model.is_file():  # which says who signs, not what
        return None
    contract = Sampler.load(paths.model, "cpu").contract
    return dict(contract.export_parameters) or None


def _evaluated(paths: Paths) -> Section | None:
    from monge.evaluation import document

    return document.made(paths.metrics).get("evaluate")


_RECORDED: dict[str, Callable[[Paths], Section | None]] = {
    "prepare": _prepared,
    "train": _trained,
    "export": _exported,
    "evaluate": _evaluated,
}


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

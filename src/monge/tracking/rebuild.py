"""A training's run made again from the project's files, where the tracking server lacks it.

A clone with `dvc pull`, or a project without its database, has the generator file, the curve and
the report, and no run. One that `promote` or `evaluate` made for want of another knows nothing of
the training; it gets what the files tell.
"""

from __future__ import annotations

import csv
import json
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from monge.contract import Contract
from monge.files import locked
from monge.params import TrainParams
from monge.paths import Paths
from monge.tracking import mlflow_store
from monge.tracking.answers import in_passing
from monge.tracking.memory import highest_steps, remember
from monge.tracking.run import is_switched_off, run_name
from monge.tracking.spool import Event

TAG = "monge.rebuilt"
TABLES = ("history.csv", "quality.csv")
"""The curves beside the checkpoints, with a column `step`."""

_TWICE = ("headline", "headline_held_out")
"""Columns that are there under the method's own names, too, by which they were logged."""

log = logging.getLogger(__name__)


def rebuild(
    paths: Paths, contract: Contract, key: str, figures: Mapping[str, float], experiment: str
) -> bool:
    """Give run `key` what the files tell, unless it has a training's parameters; whether it did.

    `figures` are the report's. What was sent and not finished is sent again by the next call, and
    nothing is then there twice. A server that does not answer is said in the log, not raised.
    """
    if is_switched_off():
        return False
    try:
        client = mlflow_store.connect(paths.root)
        with locked(paths.state / "runs" / "rebuild.lock"):
            run_id = mlflow_store.find_or_create_run(
                client, paths.root, paths.state, key, experiment
            )
            if _is_whole(client.get_run(run_id)):
                return False
            _send(client, run_id, paths, contract, key, figures, experiment)
    except Exception as error:  # the run is no reason to stop what the person asked for
        reason = in_passing(error, paths.root)
        log.warning("the run could not be rebuilt; `monge promote` tries again (%s)", reason)
        return False
    log.info("run %s was not known here: rebuilt from the project's files", key)
    return True


def _is_whole(run: Any) -> bool:
    """Tell whether a training has described itself in a run, or a rebuilding was finished."""
    told = run.data.tags.get(TAG)
    if told is not None:
        return bool(told == "true")
    return any(name.startswith("train.") for name in run.data.params)


def _send(
    client: Any,
    run_id: str,
    paths: Paths,
    contract: Contract,
    key: str,
    figures: Mapping[str, float],
    experiment: str,
) -> None:
    """Send everything, and note before and after how far it is."""
    client.set_tag(run_id, TAG, "unfinished")
    run = client.get_run(run_id)
    tags = {
        "monge.dataset": contract.dataset_hash,
        "git.revision": contract.git_revision,
        mlflow_store.NAME_TAG: run_name(experiment, key, contract.parameters),
    }
    trained = _in_order(contract.parameters, TrainParams().model_dump(by_alias=True))
    parameters = mlflow_store.flat({"train": trained})
    known = run.data.metrics
    judged = {f"evaluate.{name}": v for name, v in figures.items()}
    points = [(contract.step, {n: v for n, v in judged.items() if n not in known})]
    files = list(_reports(paths))
    if _trained_here(paths.checkpoints, key):
        points += [row for table in TABLES for row in _rows(paths.checkpoints / table)]
        files += _grids(paths.checkpoints)
    # Times that are the same in every attempt: MLflow keeps equal points once.
    begin = int(run.info.start_time)
    events: list[Event] = [
        {"kind": "tags", "values": {name: text for name, text in tags.items() if text}},
        {"kind": "params", "values": parameters},
        *({"kind": "metrics", "time_ms": begin + step, "step": step, "values": values}
          for step, values in points if values),
        *({"kind": "file", "path": str(path), "folder": folder} for path, folder in files),
    ]  # fmt: skip
    mlflow_store.send(client, run_id, paths.root, events)
    remember(paths.state, key, highest=highest_steps(events))
    client.set_terminated(run_id, "FINISHED")
    client.set_tag(run_id, TAG, "true")


def _in_order(values: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """A contract's parameters, which are in alphabetical order, in the one that `train` logs."""
    first = {name: values[name] for name in like if name in values}
    return {
        name: _in_order(value, like[name])
        if isinstance(value, Mapping) and isinstance(like.get(name), Mapping)
        else value
        for name, value in {**first, **values}.items()
    }


def _trained_here(folder: Path, key: str) -> bool:
    """Tell whether the checkpoints in `folder` are of this very training."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return bool(json.loads((folder / "training.json").read_bytes())["key"] == key)
    return False


def _rows(table: Path) -> Iterator[tuple[int, dict[str, float]]]:
    """The figures of each step in a table; what is no number, or not finite, is left out.

    So is a last line that was cut: its number would be another one.
    """
    if not table.exists():
        return
    lines = table.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    for row in csv.DictReader(line for line in lines if line.endswith("\n")):
        values = {}
        for name, text in row.items():
            if name in _TWICE:
                continue
            with suppress(ValueError, TypeError):
                values[mlflow_store.plain(name)] = float(text)
        step = values.pop("step", math.nan)
        if math.isfinite(step):
            yield int(step), {n: v for n, v in values.items() if math.isfinite(v)}


def _reports(paths: Paths) -> Iterator[tuple[Path, str]]:
    """The report's files and where they go, as `evaluate` logs them."""
    for path in (paths.metrics, paths.page, paths.card):
        if path.exists():
            yield path, "reports"
    for path in sorted(paths.pictures.glob("*.png")):
        yield path, "reports/pictures"


def _grids(folder: Path) -> Iterator[tuple[Path, str]]:
    """The grids and their animation, as `train` logs them."""
    if (folder / "samples.gif").exists():
        yield folder / "samples.gif", ""
    for path in sorted((folder / "grids").glob("step-*.png")):
        yield path, "images/samples"

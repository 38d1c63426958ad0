"""The MLflow adapter: where it is, which of its runs is ours, and how events become its calls."""

from __future__ import annotations

import getpass
import json
import logging
import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from monge.files import locked, storing
from monge.paths import Paths
from monge.products import home
from monge.tracking import address, location
from monge.tracking.memory import recall, remember
from monge.tracking.spool import Event

KEY_TAG = "monge.key"
NAME_TAG, USER_TAG = "mlflow.runName", "mlflow.user"  # MLflow's own
MOST_METRICS = 1000  # MLflow's limits for one log_batch
MOST_PAIRS = 100
MOST_CHARACTERS = 5000  # of a parameter or tag; MLflow's limits are 6,000 and 8,000

# A trainer must not hang on a dead server (MLflow's own defaults block a call for four minutes),
# and a newcomer must not wonder about migrations or be reported home. What the user sets wins.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


class RefusedError(Exception):
    """MLflow will not take this event, however often it is sent."""


class RunGoneError(Exception):
    """Somebody deleted the run: what follows goes to a new one."""


def connect(root: Path) -> Any:
    """An MlflowClient for tracking and registry; imports MLflow, makes the database if absent.

    Raises what `address.given` raises, and whatever MLflow does.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if os.environ["DO_NOT_TRACK"] == "1":  # the usual spelling, which MLflow does not read
        os.environ["DO_NOT_TRACK"] = "true"
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Each failed attempt would print a line of its own; the sender says it once.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    # It would show SQLAlchemy's traceback of what is raised and told in a line.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    from mlflow import MlflowClient

    own = home(root) / "mlflow.db"
    state = Paths(own.parent).own_state
    with locked(state / "connect.lock"):
        database = address.database(root)
        if database is not None:
            # Beside it where the database is elsewhere, maybe on another disk.
            aside = database.with_name(f".{database.name}.new")
            _make_whole(database, state / "new.db" if database == own else aside)
        if database == own:
            location.settle(database)
        where = address.given(root)
        if not (database or address.is_server(root)):
            _require_answer(where)
        address.give_credentials()
        return MlflowClient(where, address.registry_address(root))


def _make_whole(database: Path, aside: Path) -> None:
    """Make an absent database aside and rename it into place: making one takes seconds.

    MLflow cannot open a database whose making was killed, and would never mend it.
    """
    if database.exists():
        return
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine

    for leftover in aside.parent.glob(f"{aside.name}*"):
        leftover.unlink()
    with storing(database):
        aside.touch()
    engine = create_sqlalchemy_engine(address.of_file(aside))
    _initialize_tables(engine)
    engine.dispose()
    aside.replace(database)


def _require_answer(where: str) -> None:
    """Ask a database server once: MLflow would ask for two minutes, and warn of each time."""
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url

    if not address.has_driver(where):
        return
    limit = {"connect_timeout": 10} if make_url(where).get_backend_name() == "postgresql" else {}
    engine = create_engine(where, connect_args=limit)
    try:
        engine.connect().close()
    finally:
        engine.dispose()


def find_or_create_run(client: Any, root: Path, state: Path, key: str, experiment: str) -> str:
    """MLflow's id of the run with tag `monge.key`, remembered, found again, or created."""
    where = address.shown(root)
    with locked(state / "runs" / "resolve.lock"):
        known = recall(state, key)
        if known.run_id and known.address == where and is_active(client, known.run_id):
            return known.run_id
        experiment_id = _experiment(client, root, experiment)
        found = client.search_runs([experiment_id], f"tags.`{KEY_TAG}` = '{key}'", max_results=1)
        run = found[0] if found else client.create_run(
            experiment_id, tags={KEY_TAG: key, USER_TAG: _user()}, run_name=key
        )  # fmt: skip
        run_id = str(run.info.run_id)
        remember(state, key, address=where, run_id=run_id)
        return run_id


def _user() -> str:
    """Name who is logged in; in a container there may be no name for the number."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())


def is_active(client: Any, run_id: str) -> bool:
    """Tell whether the run is there and not deleted."""
    from mlflow.exceptions import MlflowException

    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise


def _experiment(client: Any, root: Path, name: str) -> str:
    from mlflow.exceptions import MlflowException

    known = client.get_experiment_by_name(name)
    if known is not None:
        return str(known.experiment_id)
    # A server knows where its artifacts go; a bare database would put them into the current folder.
    # As a URI, because MLflow takes `#` and `%` in a path for more than letters.
    bare = address.given(root).startswith("sqlite")
    place = (home(root) / "mlartifacts").as_uri() if bare else None
    try:
        return str(client.create_experiment(name, artifact_location=place))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return str(client.get_experiment_by_name(name).experiment_id)


def send(client: Any, run_id: str, folder: Path, events: Sequence[Event]) -> None:
    """Send events of one run in their order; sent twice they change nothing.

    Raises RefusedError, RunGoneError, or whatever MLflow raises while it is away.
    """
    from mlflow.entities import Metric
    from mlflow.exceptions import MlflowException

    metrics = [
        Metric(name, value, event["time_ms"], event["step"])
        for event in events
        if event["kind"] == "metrics"
        for name, value in event["values"].items()
    ]
    try:
        for part in _parts(metrics, MOST_METRICS):
            client.log_batch(run_id, metrics=part)
        for event in events:
            if event["kind"] in _SENDERS:
                _SENDERS[event["kind"]](client, run_id, folder, event)
    except MlflowException as error:
        if error.error_code not in _FINAL:
            raise
        if not is_active(client, run_id):
            raise RunGoneError(run_id) from error
        raise RefusedError(_short(error)) from error


_FINAL = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE", "RESOURCE_DOES_NOT_EXIST")


def _open(client: Any, run_id: str, folder: Path, event: Event) -> None:
    client.update_run(run_id, status="RUNNING")


def _close(client: Any, run_id: str, folder: Path, event: Event) -> None:
    # What was only added to a run, as a report with its verdict, does not make it longer.
    ended = client.get_run(run_id).info.end_time if event.get("added") else None
    client.set_terminated(run_id, event["status"], end_time=ended or event["time_ms"])


def _tags(client: Any, run_id: str, folder: Path, event: Event) -> None:
    from mlflow.entities import RunTag

    tags = [RunTag(name, text) for name, text in _texts(event["values"])]
    for part in _parts(tags, MOST_PAIRS):
        client.log_batch(run_id, tags=part)


def _params(client: Any, run_id: str, folder: Path, event: Event) -> None:
    from mlflow.entities import Param, RunTag

    known = client.get_run(run_id).data.params
    params, changed = [], []
    for name, text in _texts(event["values"]):
        if name not in known:
            params.append(Param(name, text))
        elif known[name] != text:  # MLflow refuses a second value
            changed.append(RunTag(f"changed.{name}", text))
    for part in _parts(params, MOST_PAIRS):
        client.log_batch(run_id, params=part)
    for part in _parts(changed, MOST_PAIRS):
        client.log_batch(run_id, tags=part)


def _file(client: Any, run_id: str, folder: Path, event: Event) -> None:
    path = folder / event["path"]
    if path.exists():  # it is gone when it was sent and we died before noting that
        client.log_artifact(run_id, str(path), event["folder"])


def _dataset(client: Any, run_id: str, folder: Path, event: Event) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    details = event["details"]
    dataset = Dataset(
        name=event["name"],
        digest=event["digest"][:36],  # all that MLflow keeps; the whole one is in the profile
        source_type="local",
        source=json.dumps({"uri": str(details.get("source", event["name"]))}),
        profile=json.dumps({"digest": event["digest"], **details}, default=str),
    )
    tag = InputTag("mlflow.data.context", "training")
    client.log_inputs(run_id, [DatasetInput(dataset, [tag])])


_SENDERS = {
    "open": _open,
    "close": _close,
    "tags": _tags,
    "params": _params,
    "file": _file,
    "dataset": _dataset,
}


def flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return nested mappings as one, by dotted names, in their order."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        nested = isinstance(value, Mapping) and value
        found |= flat(value, f"{before}{name}.") if nested else {f"{before}{name}": value}
    return found


def _texts(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        yield plain(name), str(value)[:MOST_CHARACTERS]


def plain(name: str) -> str:
    """A name with only the characters that MLflow allows in one, and no way up a tree in it."""
    allowed = re.sub(r"[^\w\-. :/]", "_", name).replace("../", "")
    return posixpath.normpath(allowed)[:250]


def _parts(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]

"""The run protocol, the run that logs nowhere, and the one function that opens a run."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from monge.errors import MissingExtra
from monge.tracking import address
from monge.tracking.spool import Status


class Run(Protocol):
    """Logs what a stage tells. No method waits for a server or raises because one is away."""

    @property
    def key(self) -> str:
        """The name chosen by us: the same for a resumed training and for the later stages."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags; the last value of a name wins."""

    def params(self, values: Mapping[str, object]) -> None:
        """Log parameters; the first value of a name stays, another one becomes a tag.

        Mappings are logged by the dotted names of what is in them.
        """

    def metrics(self, values: Mapping[str, float], step: int, *, again: bool = False) -> None:
        """Log figures of a step; NaN and infinity are stored.

        A figure whose name was logged at this or a later step before is skipped (a resumed training
        repeats steps), save with `again`: a second judgement of the same step.
        """

    def image(self, name: str, pixels: NDArray[np.uint8], step: int) -> None:
        """Log a picture, uint8 [H, W] or [H, W, C], as images/<name>/step-00000100.png."""

    def file(self, path: Path, folder: str) -> None:
        """Log a copy of a file as it is now, as <folder>/<its name>."""

    def dataset(self, name: str, digest: str, details: Mapping[str, object]) -> None:
        """Log which data the run was made from."""

    def close(self, status: Status, timeout_s: float = 30.0) -> None:
        """Send what waits, for at most `timeout_s`; what is left goes with the next command."""

    def run_id(self, timeout_s: float = 0.0) -> str | None:
        """MLflow's own id of the run, or None when it is not known within `timeout_s`."""


class NullRun:
    """A run that logs nowhere."""

    def __init__(self, key: str) -> None:
        self.key = key

    def tags(self, values: Mapping[str, str]) -> None:
        """Do nothing."""

    def params(self, values: Mapping[str, object]) -> None:
        """Do nothing."""

    def metrics(self, values: Mapping[str, float], step: int, *, again: bool = False) -> None:
        """Do nothing."""

    def image(self, name: str, pixels: NDArray[np.uint8], step: int) -> None:
        """Do nothing."""

    def file(self, path: Path, folder: str) -> None:
        """Do nothing."""

    def dataset(self, name: str, digest: str, details: Mapping[str, object]) -> None:
        """Do nothing."""

    def close(self, status: Status, timeout_s: float = 30.0) -> None:
        """Do nothing."""

    def run_id(self, timeout_s: float = 0.0) -> str | None:
        """None: there is no MLflow run."""
        return None


def run_name(product: str, key: str, train: Mapping[str, Any]) -> str:
    """Return what people read of a run: product, method and network, and the end of its key."""
    parts = (product, train.get("objective"), train.get("net"), key[-6:])
    return "-".join(str(part) for part in parts if part)


def is_switched_off() -> bool:
    """Tell whether MONGE_TRACKING says that nothing is to be tracked."""
    return os.environ.get("MONGE_TRACKING", "").lower() in ("off", "0", "false", "no")


def open_run(key: str, *, root: Path, state: Path, experiment: str, **spool: Any) -> Run:
    """Open the run `key`, new or continued; NullRun when MONGE_TRACKING=off.

    `state` keeps the spool and the memory of what was logged. Figures go to the server named by
    MLFLOW_TRACKING_URI, else to <root>/mlflow.db and <root>/mlartifacts (of the project, where
    `root` is a temporary copy that DVC made for an experiment). Raises MissingExtra when MLflow is
    not installed, StorageError when `state` cannot be written, InputError for a wrong address.
    """
    if is_switched_off():
        return NullRun(key)
    if importlib.util.find_spec("mlflow") is None:
        raise MissingExtra(
            "Tracking needs MLflow: pip install 'monge[pipeline]', or switch tracking off with "
            "MONGE_TRACKING=off."
        )
    address.given(root)  # a wrong one is told before the work, not after it
    from monge.tracking.spooled import SpooledRun

    return SpooledRun(key, root=root, state=state, experiment=experiment, **spool)

"""The run that is spooled on this disk first and sent to MLflow from a side thread."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monge.files import storing
from monge.tracking.memory import highest_steps, raised, recall
from monge.tracking.mlflow_store import flat, plain
from monge.tracking.sender import Sender
from monge.tracking.spool import Status, own, written

log = logging.getLogger(__name__)


class SpooledRun:
    """See `monge.tracking.run.Run`. A call costs a write to this disk, nothing more.

    What waits is sent every `interval_s`: MLflow takes some 20 ms of a processor for one record of
    figures, and hardly more for twenty, while the training waits for the interpreter's lock.
    """

    def __init__(
        self, key: str, *, root: Path, state: Path, experiment: str, interval_s: float = 10.0
    ) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", key):
            raise ValueError(f"a run's key is made of letters, digits, '_', '.' and '-': {key!r}")
        self.key = key
        self._spool = own(state, key)
        # The spool before the memory: what leaves the one is in the other already.
        spooled = highest_steps(written(state, key))
        self._highest = raised(spooled, recall(state, key).highest)
        self._append("open", key=key, experiment=experiment)
        self._sender = Sender(self._spool, key, root, state, interval_s)
        self._closed, self._only_added = False, True

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags; the last value of a name wins."""
        self._append("tags", values={name: str(value) for name, value in values.items()})

    def params(self, values: Mapping[str, object]) -> None:
        """Log parameters; the first value of a name stays, another becomes tag changed.<name>."""
        self._append("params", values={name: str(value) for name, value in flat(values).items()})
        self._only_added = False

    def metrics(self, values: Mapping[str, float], step: int, *, again: bool = False) -> None:
        """Log figures of a step; what was logged at this or a later step before is skipped."""
        named = {plain(name): float(value) for name, value in values.items()}
        if not again:
            named = {name: v for name, v in named.items() if step > self._highest.get(name, -1)}
        if named:
            self._append("metrics", step=int(step), values=named)
            self._only_added = False
            self._highest = raised(self._highest, dict.fromkeys(named, int(step)))

    def image(self, name: str, pixels: NDArray[np.uint8], step: int) -> None:
        """Log a picture, uint8 [H, W] or [H, W, C], as images/<name>/step-00000100.png."""
        from PIL import Image

        if pixels.ndim == 3 and pixels.shape[2] == 1:
            pixels = pixels[:, :, 0]
        place = self._spool.place(f"step-{step:08d}.png")
        with storing(place):
            # The quickest compression: this is on the training's time.
            Image.fromarray(pixels).save(place, compress_level=1)
        self._append_file(place, f"images/{plain(name)}")

    def file(self, path: Path, folder: str) -> None:
        """Log a copy of a file as it is now, as <folder>/<its name>."""
        with path.open("rb") as source:
            place = self._spool.place(path.name)
            with storing(place), place.open("wb") as copy:
                shutil.copyfileobj(source, copy)
        self._append_file(place, folder)

    def dataset(self, name: str, digest: str, details: Mapping[str, object]) -> None:
        """Log which data the run was made from."""
        texts = {key: str(value) for key, value in details.items()}
        self._append("dataset", name=name, digest=digest, details=texts)

    def run_id(self, timeout_s: float = 0.0) -> str | None:
        """MLflow's own id of the run, or None when it is not known within `timeout_s`."""
        self._sender.resolved.wait(timeout_s)
        return self._sender.run_id

    def close(self, status: Status, timeout_s: float = 30.0) -> None:
        """Send what waits, for at most `timeout_s`; what is left goes with the next command."""
        if self._closed:
            return
        self._closed = True
        self._append("close", status=status, added=self._only_added)
        if not self._sender.finish(timeout_s):
            log.warning(
                "%d records of this run wait in %s; the next monge command sends them",
                self._spool.waiting(),
                self._spool.folder,
            )

    def _append(self, kind: str, **fields: Any) -> None:
        self._spool.append({"kind": kind, **fields})

    def _append_file(self, place: Path, folder: str) -> None:
        self._append("file", path=str(place.relative_to(self._spool.folder)), folder=folder)

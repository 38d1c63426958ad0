"""Tells when a checkpoint is due, and writes it in a thread while the training goes on."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from monge.files import storing, sync
from monge.params import TrainParams
from monge.training.checkpoints import checkpoint
from monge.training.state import TrainingState

log = logging.getLogger(__name__)


class CheckpointWriter:
    """Checkpoints every so many steps and minutes, at the end, and whenever asked to.

    `save` takes a snapshot and returns; one checkpoint is written at a time, and the next waits for
    it. What a write raises (StorageError) is raised by the next `save` or on leaving. On leaving,
    the last one is on disk.
    """

    def __init__(
        self,
        train: TrainParams,
        folder: Path,
        fingerprint: Mapping[str, Any],
        record: Mapping[str, Any],
    ) -> None:
        self.train, self.folder = train, folder
        self.fingerprint, self.record = fingerprint, record
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        self._last_s = time.monotonic()

    def due(self, step: int) -> bool:
        """Tell whether the state after `step` is to be kept."""
        minutes = (time.monotonic() - self._last_s) / 60.0
        return (
            step % self.train.checkpoint_every == 0
            or step == self.train.steps
            or minutes >= self.train.checkpoint_every_minutes
        )

    def save(self, state: TrainingState, records: Sequence[int] = ()) -> None:
        """Snapshot the state; its writing goes on in the background.

        `records` are the steps whose checkpoints were the best so far (checkpoint.prune).
        """
        snapshot = state.tensors()
        self.wait()
        self._last_s = time.monotonic()
        self._pending = self._thread.submit(self._write, state.step, snapshot, records)

    def wait(self) -> None:
        """Until what was saved is on disk; raises what writing it raised."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _write(self, step: int, tensors: Mapping[str, Tensor], records: Sequence[int]) -> None:
        for table in self.folder.glob("*.csv"):
            with storing(table):
                sync(table)  # the rows up to a checkpoint last as long as it does
        checkpoint.write(self.folder, step, tensors, self.fingerprint, self.record)
        checkpoint.prune(self.folder, self.train.keep_checkpoints, records)

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.wait()
        except Exception as own:
            if error is None:
                raise
            log.warning("%s", own)  # and let the error that came first be the one that is raised
        finally:
            self._thread.shutdown()

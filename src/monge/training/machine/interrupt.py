"""SIGTERM and SIGINT end a training after the iteration in hand, with a checkpoint."""

from __future__ import annotations

import signal
import threading
from types import FrameType

from monge.errors import Interrupted


class StopRequest:
    """While entered, the two signals set `signal_name`; a second one acts as it did before."""

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.signal_name: str | None = None
        self._before: dict[signal.Signals, object] = {}

    def __bool__(self) -> bool:
        return self.signal_name is not None

    def interrupted(self, step: int, steps: int) -> Interrupted:
        """Make the error to raise once everything is saved."""
        by = self.signal_name or "a signal to another rank"
        return Interrupted(
            f"stopped by {by} at step {step} of {steps}; the checkpoint is saved, and "
            "`monge train` goes on from there."
        )

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # Python allows it nowhere else
            self._before = {number: signal.signal(number, self._note) for number in self.SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _note(self, number: int, _: FrameType | None) -> None:
        self.signal_name = signal.Signals(number).name
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}

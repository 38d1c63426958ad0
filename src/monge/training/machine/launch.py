"""`train.devices`: one process a device on this machine, started together and again when one dies.

Each is the same command with the group's address in its environment, as torchrun would set it; for
several machines use torchrun itself. When a process is killed the others are ended and all start
again, from the last checkpoint. What a process refuses (exit codes 2, 3, 4) ends them all.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from monge.errors import DeviceError, EnvironmentFault, Interrupted

RESTARTS = 3
_GRACE_S = 60.0
_POLL_S = 0.05

log = logging.getLogger(__name__)


def is_wanted(devices: int) -> bool:
    """Tell whether to start other processes: several are asked for, and none has been started."""
    return devices > 1 and "WORLD_SIZE" not in os.environ


def is_first() -> bool:
    """Tell whether this process is the one of its group that writes and speaks."""
    return os.environ.get("RANK", "0") == "0"


def launch(devices: int, device: str, arguments: Sequence[str]) -> int:
    """Run `monge` with `arguments` on every device to its end; the exit code, which is not 0.

    0 means that the training is at its end. Raises DeviceError when there are fewer GPUs than are
    asked for, Interrupted after a signal, EnvironmentFault when processes keep dying.
    """
    _check(devices, device)
    for attempt in range(RESTARTS + 1):
        processes = [_start(rank, devices, arguments, port) for port in [_free_port()]
                     for rank in range(devices)]  # fmt: skip
        with _passed_on(processes) as seen:
            codes, killed = _wait(processes, seen)
        if all(code == 0 for code in codes):
            return 0
        if seen or all(code == 130 for code in codes):
            raise Interrupted("stopped by a signal; `monge train` goes on from the checkpoint.")
        refused = [code for code in codes if code > 0 and code != 130]
        if refused and not killed:
            return next((code for code in refused if code != 1), 1)  # 1: an error, perhaps for it
        log.warning("a training process died (exit codes %s)", ", ".join(map(str, codes)))
        if attempt < RESTARTS:
            log.warning("starting all %d again from the last checkpoint", devices)
        arguments = [argument for argument in arguments if argument != "--fresh"]
    raise EnvironmentFault(
        f"train.devices: processes died {RESTARTS + 1} times. Look for the reason above and in the "
        "system's log (memory?); the same command goes on from the last checkpoint."
    )


def _check(devices: int, device: str) -> None:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    on_gpu = device.startswith("cuda") or (device == "auto" and count > 0)
    if on_gpu and devices > count:
        raise DeviceError(
            f"train.devices: {devices} are asked for and {count} CUDA devices are here. Lower "
            "train.devices, or set train.device: cpu."
        )


def _start(rank: int, world: int, arguments: Sequence[str], port: int) -> subprocess.Popen[bytes]:
    cores = max(1, (os.cpu_count() or 1) // world)
    group = {
        "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world,
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
    }  # fmt: skip
    environment = {"OMP_NUM_THREADS": str(cores), **os.environ}
    environment |= {name: str(value) for name, value in group.items()}
    command = [sys.executable, "-m", "monge", *arguments]
    # In a session of its own: Ctrl-C reaches it through this process only, once.
    return subprocess.Popen(command, env=environment, start_new_session=True)


def _wait(processes: list[subprocess.Popen[bytes]], seen: list[int]) -> tuple[list[int], bool]:
    """Until all have ended; when one ends badly, the others are made to.

    Their exit codes, and whether it began with one that a signal killed: what the others raise
    then, for want of it, is no refusal.
    """
    deadline, killed = None, False
    while any(process.poll() is None for process in processes):
        failed = any(process.poll() not in (None, 0) for process in processes)
        if (failed or seen) and deadline is None:
            killed = any((process.poll() or 0) < 0 for process in processes)
            deadline = time.monotonic() + (_GRACE_S if seen else 2.0)
        if deadline is not None and time.monotonic() > deadline:
            for process in processes:
                process.kill()
        time.sleep(_POLL_S)
    codes = [process.wait() for process in processes]
    # All may have ended between two looks.
    return codes, killed or (deadline is None and any(code < 0 for code in codes))


@contextmanager
def _passed_on(processes: list[subprocess.Popen[bytes]]) -> Iterator[list[int]]:
    """Pass SIGTERM and SIGINT on to the processes; those seen so far."""
    seen: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        seen.append(number)
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port

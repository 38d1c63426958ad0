"""Decoding on several processes that cannot outlive this one.

Each worker holds one end of a socket pair and ends when the other end closes, so even a SIGKILL of
the parent leaves no orphan; `multiprocessing` promises that only for an orderly exit, and it also
imports the user's main module again in each worker.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from types import TracebackType

from monge.data.decode import Decoded, Recipe, decode_chunk
from monge.data.encoded import Encoded
from monge.errors import EnvironmentFault

# Starting a worker costs about a quarter second: below this it is quicker to work alone.
PATIENCE_S = 0.5

Chunk = tuple[list[str], list[Encoded]]  # names and what they name, of the same length
Result = tuple[list[str], Decoded]


def decode_all(
    chunks: Iterable[Chunk], recipe: Recipe, workers: int
) -> Generator[Result, None, None]:
    """Decode chunks on `workers` processes, in any order; alone while the work is short.

    Raises EnvironmentFault when a worker dies.
    """
    chunks = iter(chunks)
    begin = time.monotonic()
    for names, encoded in chunks:
        yield names, decode_chunk(encoded, recipe)
        if workers > 1 and time.monotonic() - begin > PATIENCE_S:
            break
    else:
        return
    with _Pool(recipe, workers) as pool:
        yield from pool.map(chunks)


class _Pool:
    def __init__(self, recipe: Recipe, workers: int) -> None:
        self._recipe = recipe
        self._workers = workers
        self._processes: list[subprocess.Popen[bytes]] = []
        self._idle: list[Connection] = []
        self._busy: dict[Connection, list[str]] = {}

    def __enter__(self) -> _Pool:
        # Workers inherit the blocked signal: Ctrl-C is for the parent, which then ends them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            for _ in range(self._workers):
                self._start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return self

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            code = (
                f"import sys; sys.path[:] = {sys.path!r}\n"
                f"from monge.data.pool import serve; serve({theirs.fileno()})"
            )
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-c", code],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                )
            )
        connection = Connection(ours.detach())
        connection.send(self._recipe)
        self._idle.append(connection)

    def map(self, chunks: Iterable[Chunk]) -> Iterator[Result]:
        """At most one chunk is with each worker, so neither side can block the other."""
        for names, encoded in chunks:
            if not self._idle:
                yield from self._collect()
            connection = self._idle.pop()
            self._busy[connection] = names
            try:
                connection.send(encoded)
            except OSError:
                raise _died(names) from None
        while self._busy:
            yield from self._collect()

    def _collect(self) -> Iterator[Result]:
        ready = [each for each in wait(list(self._busy)) if isinstance(each, Connection)]
        for connection in ready:
            names = self._busy.pop(connection)
            try:
                decoded = connection.recv()
            except (EOFError, OSError):
                raise _died(names) from None
            self._idle.append(connection)
            yield names, decoded

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for connection in [*self._idle, *self._busy]:
            connection.close()
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()


def _died(names: list[str]) -> EnvironmentFault:
    return EnvironmentFault(
        f"A decoding process died between {names[0]} and {names[-1]}. If memory is short, lower "
        "prepare.workers or prepare.max_pixels; if it dies there again, remove those images."
    )


def serve(handle: int) -> None:
    """Live a worker's life: a recipe, then chunks in and images out, until the parent goes."""
    with Connection(handle) as parent:
        try:
            recipe = parent.recv()
            while True:
                parent.send(decode_chunk(parent.recv(), recipe))
        except (EOFError, OSError):
            return

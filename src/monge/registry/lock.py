"""One promotion at a time, also from several machines that share a server.

MLflow has no lock and no compare-and-set for aliases, but it makes no registered model whose name
is taken: whoever could make `<name>.promoting` has the turn, and deletes it afterwards.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from monge.errors import ServiceError

log = logging.getLogger(__name__)

SUFFIX = ".promoting"
STALE_S = 60.0
"""A turn takes a second or two; one that is held so long belonged to a process that was killed."""
# The second one where the turn is given back while the server looks whose it is.
_TAKEN = ("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST")
_POLL_S = 0.3
_PATIENCE_S = 600.0


@contextmanager
def turn(client: Any, name: str) -> Iterator[None]:
    """Wait for the turn at a registered model and hold it.

    Raises ServiceError when others hold it for ten minutes.
    """
    token = name + SUFFIX
    _take(client, token)
    try:
        yield
    finally:
        client.delete_registered_model(token)


def _take(client: Any, token: str) -> None:
    from mlflow.exceptions import MlflowException

    end_s, told = time.monotonic() + _PATIENCE_S, False
    seen: dict[int, float] = {}
    while True:
        try:
            client.create_registered_model(token)
            return
        except MlflowException as error:
            if error.error_code not in _TAKEN:
                raise
        if not told:
            log.info("another promotion is under way; waiting for it")
            told = True
        if time.monotonic() > end_s:
            raise ServiceError(
                f"{token}: other promotions took ten minutes. Run the same command again."
            )
        _drop_if_stale(client, token, seen)
        time.sleep(_POLL_S)


def _drop_if_stale(client: Any, token: str, seen: dict[int, float]) -> None:
    """Take a killed process's turn away: one that has been seen here for as long as none takes.

    `seen` is when by a clock that does not jump, by the server's name for the turn: the time at
    which it began. The server's clock and this machine's may be hours apart.
    """
    from mlflow.exceptions import MlflowException

    try:
        taken_ms = client.get_registered_model(token).creation_timestamp
        now_s = time.monotonic()
        if now_s - seen.setdefault(taken_ms, now_s) > STALE_S:
            log.warning("a promotion was killed before its end; going on without it")
            client.delete_registered_model(token)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # given back in the meantime
            raise

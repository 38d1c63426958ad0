"""Prefect's log in lines: a server that is away is told of, without the tracebacks."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator

import httpx

_OUTAGES = (httpx.TransportError, httpx.HTTPStatusError, EOFError, ConnectionError, TimeoutError)
_WATCHERS = ("FlowRunCancellingObserver", "FlowRunSuspendingObserver", "exceeded error threshold")


# Prefect gives up listening after half a minute. Our runs ask the server themselves: watch.py.
_UNTRUE = ("flow run cancellation will fail", "_handle_polling_task_done", "cancellation disabled")


class Brief(logging.Filter):
    """Puts an outage's reason behind the message, in the place of its traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        error, told = record.exc_info[1] if record.exc_info else None, record.getMessage()
        if any(word in told for word in _UNTRUE):
            return False
        watchers = any(word in told or word in str(error) for word in _WATCHERS)
        if error is not None and (watchers or _is_outage(error)):
            reason = (str(error) or type(error).__name__).splitlines()[0]
            record.msg, record.args = f"{told.splitlines()[0]} ({reason})", ()
            record.exc_info = record.exc_text = None
        return True


def outages() -> None:
    """Write a line where a traceback would only say that the server does not answer."""
    from prefect.utilities import services

    for handler in _handlers():
        if not any(isinstance(there, Brief) for there in handler.filters):
            handler.addFilter(Brief())
    warnings.filterwarnings("ignore", "coroutine .*_handle_cancellation_observer_failure")
    loop = services.critical_service_loop  # prints tracebacks: its failure is logged as well
    loop.__defaults__ = tuple(
        _silent if each is print else each for each in loop.__defaults__ or ()
    )


def _silent(*_said: object) -> None:
    """Print nothing."""


def _handlers() -> Iterator[logging.Handler]:
    yield from logging.getLogger().handlers
    for logger in list(logging.getLogger().manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            yield from logger.handlers


def _is_outage(error: BaseException) -> bool:
    """Tell whether an error, or what it came of, is of a connection."""
    cause = error.__cause__ or error.__context__
    known = type(error).__module__.startswith("websockets") or isinstance(error, _OUTAGES)
    return known or (cause is not None and _is_outage(cause))

"""`monge serve`: checks who may reach it, opens the model, and runs until a signal."""

from __future__ import annotations

import gc
import logging
import signal
from functools import partial
from typing import Any, cast

import uvicorn

from monge.server.connections import KEEP_ALIVE_S, Connection, ConnectionTable, Server
from monge.server.middleware.access import Access
from monge.server.middleware.admission import address, admission, listening
from monge.server.open_files import room
from monge.server.settings import Settings

DRAIN_S = 25
"""The longest that an accepted request waits after a signal: Kubernetes waits 30 s."""

log = logging.getLogger(__name__)


def serve(model: str, settings: Settings) -> None:
    """Serve a model until SIGTERM or SIGINT; what was accepted is answered first.

    Raises InputError when the address is not loopback and there is no token, and whatever opening
    the model raises.
    """
    said, wanted = settings, admission(settings)
    from monge.server.app import build
    from monge.server.models import open_model

    with listening(said.host, said.port) as listener:
        first = open_model(model, said.provider, said.threads, said.batches, said.marks)
        app = build(
            first, said.limits,
            follow=followed(model), poll_s=said.poll_s, threads=said.threads, batches=said.batches,
            marks=said.marks,
        )  # fmt: skip
        server = _server(Access(app, wanted), said)
        app.state.service.failed = server.fail
        log.info(
            "%s version %s on %s (%s)",
            first.name, first.version, address(said.host, listener.getsockname()[1]),
            first.sampler.provider,
        )  # fmt: skip
        for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises it again when it is done
            signal.signal(number, lambda number, _: ended(number, server.last_words()))
        _settle()
        server.run([listener])
    if server.failure is not None:
        raise server.failure


def _server(app: Access, settings: Settings) -> Server:
    """Set uvicorn up: our connections, our log, and nobody's forwarded headers but a proxy's."""
    most, backlog = room(settings.patience.connections)
    table = ConnectionTable(settings.patience, most)
    config = uvicorn.Config(
        app,
        http=cast(Any, partial(Connection, table=table)),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=[*settings.trusted_proxies],
        backlog=backlog,
        timeout_keep_alive=KEEP_ALIVE_S,
        lifespan="on",
    )
    config.load()
    return Server(config, table, min(settings.limits.timeout_s, DRAIN_S))


def _settle() -> None:
    """Tell the garbage collector that what there is now stays.

    Under load it looks through all of it once a second, which holds everybody up for 20 ms.
    """
    gc.collect()
    gc.freeze()


def ended(number: int, last_words: str = "what was accepted has been answered") -> None:
    """Say which signal it was, when all is done."""
    log.info("stopped by %s; %s", signal.Signals(number).name, last_words)


def followed(model: str) -> str | None:
    """The address whose alias is followed, where the model is one."""
    return model if model.startswith("models:/") and "@" in model else None

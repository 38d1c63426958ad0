"""`monge serve`: checks who may reach it, opens the model, and runs until a signal."""

from __future__ import annotations

import gc
import logging
import signal

from monge.server.admission import address, admission, listening
from monge.server.settings import Settings

KEEP_ALIVE_S = 75
"""For the next request: longer than the 60 s of proxies, which must be the ones to close."""

DRAIN_S = 60
"""What was accepted has so long to be answered after a signal."""

log = logging.getLogger(__name__)


def serve(model: str, settings: Settings) -> None:
    """Serve a model until SIGTERM or SIGINT; what was accepted is answered first.

    Raises InputError when the address is not loopback and there is no token, and whatever opening
    the model raises.
    """
    said, wanted = settings, admission(settings)
    import uvicorn

    from monge.server.access import Access
    from monge.server.app import build
    from monge.server.models import open_model

    with listening(said.host, said.port) as listener:
        first = open_model(model, said.provider, said.threads, said.batches)
        app = build(
            first, said.limits,
            follow=followed(model), poll_s=said.poll_s, threads=said.threads, batches=said.batches,
        )  # fmt: skip
        config = uvicorn.Config(
            Access(app, wanted),
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(said.trusted_proxies),
            forwarded_allow_ips=[*said.trusted_proxies],
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=DRAIN_S,
            lifespan="on",
        )
        log.info(
            "%s version %s on %s (%s)",
            first.name, first.version, address(said.host, listener.getsockname()[1]),
            first.sampler.provider,
        )  # fmt: skip
        for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises it again when it is done
            signal.signal(number, ended)
        config.load()
        _settle()
        uvicorn.Server(config).run([listener])


def _settle() -> None:
    """Tell the garbage collector that what there is now stays.

    Under load it looks through all of it once a second, which holds everybody up for 20 ms.
    """
    gc.collect()
    gc.freeze()


def ended(number: int, _: object = None) -> None:
    """Say which signal it was, when all is done."""
    log.info("stopped by %s; what was accepted has been answered", signal.Signals(number).name)


def followed(model: str) -> str | None:
    """The address whose alias is followed, where the model is one."""
    return model if model.startswith("models:/") and "@" in model else None

"""`monge serve`: checks who may reach it, opens the model, and runs until a signal."""

from __future__ import annotations

import gc
import ipaddress
import logging
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

from monge.errors import InputError
from monge.server.drawing import Limits

TOKEN = "MONGE_TOKEN"
MIN_TOKEN_CHARACTERS = 16

DRAIN_S = 60
"""What was accepted has so long to be answered after a signal."""

log = logging.getLogger(__name__)


def serve(
    model: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    provider: str = "auto",
    threads: int = 0,
    batches: Sequence[int] | None = None,
    limits: Limits | None = None,
    rate: float = 0.0,
    token_file: Path | None = None,
    poll_s: float = 10.0,
) -> None:
    """Serve a model until SIGTERM or SIGINT; what was accepted is answered first.

    Raises InputError when the address is not loopback and there is no token, and whatever opening
    the model raises.
    """
    token, local = admission(host, token_file)
    import uvicorn

    from monge.server.access import Access
    from monge.server.app import build
    from monge.server.models import open_model

    limits = limits or Limits()
    with listening(host, port) as listener:
        first = open_model(model, provider, threads, batches)
        app = build(
            first, limits, follow=followed(model), poll_s=poll_s, threads=threads, batches=batches
        )
        config = uvicorn.Config(
            Access(app, token=token, local=local, rate=rate, body_bytes=limits.body_bytes),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=DRAIN_S,
            lifespan="on",
        )
        log.info(
            "%s version %s on %s (%s)",
            first.name, first.version, address(host, listener.getsockname()[1]),
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


def address(host: str, port: int) -> str:
    """Write both as a client asks for them."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def admission(host: str, token_file: Path | None) -> tuple[str | None, bool]:
    """Find the token that is asked for, and whether only this machine can ask.

    Raises InputError when others can and there is no token.
    """
    token, local = _token(token_file), _is_loopback(host)
    if token is None and not local:
        raise InputError(
            f"{host} can be reached from other machines, so a token is needed: put one of at least "
            f"{MIN_TOKEN_CHARACTERS} characters into a file for --token-file, or into {TOKEN}."
        )
    return token, local


def listening(host: str, port: int) -> socket.socket:
    """Take the address; port 0 is any free one. Raises InputError when it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        reason = error.strerror or error
        raise InputError(f"{host} port {port}: {reason}. Choose another with --port.") from None
    return listener


def _token(token_file: Path | None) -> str | None:
    if token_file is None:
        token = os.environ.get(TOKEN) or None
        where = TOKEN
    else:
        where = str(token_file)
        try:
            token = token_file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise InputError(f"{token_file}: cannot be read: {error}.") from None
    if token is not None and (len(token) < MIN_TOKEN_CHARACTERS or not token.isprintable()):
        raise InputError(f"{where}: a token has at least {MIN_TOKEN_CHARACTERS} characters.")
    return token


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

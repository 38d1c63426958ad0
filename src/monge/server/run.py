"""`monge serve`: checks who may reach it, opens the model, and runs until a signal."""

from __future__ import annotations

import ipaddress
import logging
import os
import signal
import socket
from pathlib import Path

from monge.errors import InputError
from monge.server.drawing import Limits

TOKEN = "MONGE_TOKEN"
MIN_TOKEN_CHARACTERS = 16

_DRAIN_S = 60

log = logging.getLogger(__name__)


def serve(
    model: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    provider: str = "auto",
    threads: int = 0,
    limits: Limits | None = None,
    rate: float = 0.0,
    token_file: Path | None = None,
    poll_s: float = 10.0,
) -> None:
    """Serve a model until SIGTERM or SIGINT; what was accepted is answered first.

    Raises InputError when the address is not loopback and there is no token, and whatever opening
    the model raises.
    """
    token = _token(token_file)
    local = _is_loopback(host)
    if token is None and not local:
        raise InputError(
            f"{host} can be reached from other machines, so a token is needed: put one of at least "
            f"{MIN_TOKEN_CHARACTERS} characters into a file for --token-file, or into {TOKEN}."
        )
    import uvicorn

    from monge.server.access import Access
    from monge.server.app import build
    from monge.server.models import open_model

    limits = limits or Limits()
    with _listening(host, port) as listener:
        first = open_model(model, provider, threads)
        followed = model if model.startswith("models:/") and "@" in model else None
        app = build(first, limits, follow=followed, poll_s=poll_s, threads=threads)
        config = uvicorn.Config(
            Access(app, token=token, local=local, rate=rate, body_bytes=limits.body_bytes),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_DRAIN_S,
            lifespan="on",
        )
        name = f"[{host}]" if ":" in host else host
        log.info(
            "%s version %s on http://%s:%d (%s)",
            first.name, first.version, name, listener.getsockname()[1], first.sampler.provider,
        )  # fmt: skip
        for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises it again when it is done
            signal.signal(number, _ended)
        uvicorn.Server(config).run([listener])


def _ended(number: int, _: object) -> None:
    log.info("stopped by %s; what was accepted has been answered", signal.Signals(number).name)


def _listening(host: str, port: int) -> socket.socket:
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

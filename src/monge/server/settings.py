"""The settings of `monge serve`: one object that goes from the command to whatever serves."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from monge.errors import InputError
from monge.server.service import Limits


@dataclass(frozen=True, kw_only=True)
class Patience:
    """The seconds that a client may take for each part of a request, and the number of clients.

    A body that comes, and an answer that is taken, with 64 KiB a second or more have as long as
    that takes.
    """

    header_s: float = 10.0
    body_s: float = 30.0
    answer_s: float = 30.0
    connections: int = 1024


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The address, whom the service admits, what a request may take, and how images are drawn.

    `allowed_hosts` are the names under which a proxy passes requests on, `trusted_proxies` the
    addresses or networks whose `X-Forwarded-For` is believed, and `root_path` is the prefix that a
    proxy leaves in front of every path. `threads` 0 is one a core, `rate` 0 any number of requests
    a second. Raises InputError.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token_file: Path | None = None
    allowed_hosts: Sequence[str] = ()
    trusted_proxies: Sequence[str] = ()
    root_path: str = ""
    rate: float = 0.0
    limits: Limits = field(default_factory=Limits)
    patience: Patience = field(default_factory=Patience)
    provider: str = "auto"
    threads: int = 0
    batches: Sequence[int] | None = None
    poll_s: float = 10.0
    marks: bool = True

    def __post_init__(self) -> None:
        for proxy in self.trusted_proxies:
            try:
                ipaddress.ip_network(proxy, strict=False)
            except ValueError:
                raise InputError(
                    f"--trusted-proxies: addresses or networks with commas, as "
                    f"127.0.0.1,10.0.0.0/8, got {proxy[:80]!r}."
                ) from None
        if self.root_path and not self.root_path.startswith("/"):
            raise InputError(f"--root-path begins with /, as /gan, got {self.root_path[:80]!r}.")

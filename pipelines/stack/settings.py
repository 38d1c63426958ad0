"""The settings of the servers, and the place where their state is kept."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from monge.errors import InputError, StorageError
from monge.files import write_whole

HOST = "127.0.0.1"
VARIABLES = "MONGE_UP_"
_GRPC = 10_000
_LAST_PORT = 65_535


@dataclass(frozen=True)
class Settings:
    """Ports on loopback, the model that is served, and how many trainings run at once.

    SeaweedFS takes each of its four ports once more, 10,000 higher.
    """

    postgres_port: int = 5433
    s3_port: int = 8333
    master_port: int = 9333
    volume_port: int = 8380
    filer_port: int = 8888
    mlflow_port: int = 5000
    prefect_port: int = 4200
    worker_port: int = 4280
    service_port: int = 8000
    model: str = ""
    trainings: int = 1

    @property
    def store_ports(self) -> tuple[int, ...]:
        """Every port that SeaweedFS listens at."""
        ports = (self.s3_port, self.master_port, self.volume_port, self.filer_port)
        return (*ports, *(port + _GRPC for port in ports))

    def ports(self) -> dict[int, str]:
        """Every port with the option that changes it. Raises InputError where two are the same."""
        named: dict[int, str] = {}
        for name, port in asdict(self).items():
            if not name.endswith("_port"):
                continue
            own = (port, port + _GRPC) if port in self.store_ports else (port,)
            for each in own:
                if not 0 < each <= _LAST_PORT:
                    raise InputError(f"{option(name)}: {port}: it takes port {each}, which is none")
                if each in named:
                    raise InputError(
                        f"{option(name)} and {named[each]} both take port {each}; choose another."
                    )
                named[each] = option(name)
        return named


@dataclass(frozen=True)
class Place:
    """A checkout and the folder in it that keeps all that its servers leave."""

    checkout: Path

    @property
    def state(self) -> Path:
        """The folder of data, logs, settings and secrets."""
        return self.checkout / ".monge" / "stack"

    @property
    def logs(self) -> Path:
        """The folder with one log of each server."""
        return self.state / "logs"

    @property
    def settings(self) -> Path:
        """The file with what was chosen."""
        return self.state / "settings.json"

    @property
    def lock(self) -> Path:
        """The file that the supervisor holds locked, with its process id."""
        return self.state / "supervisor.lock"

    @property
    def report(self) -> Path:
        """The file with what the supervisor knows of each server."""
        return self.state / "servers.json"

    def make(self) -> None:
        """Make the folder. Another user's PostgreSQL passes through it, and reads nothing."""
        self.logs.mkdir(parents=True, exist_ok=True)
        (self.state / "run").mkdir(exist_ok=True)
        self.state.chmod(0o711 if os.geteuid() == 0 else 0o700)
        self.logs.chmod(0o700)


def option(name: str) -> str:
    """A setting's name as an option."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """A setting's name as a variable of the environment."""
    return VARIABLES + name.upper()


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give a parser one option for each setting."""
    for each in fields(Settings):
        default = each.default if each.default != "" else "promote.name of params.yaml"
        parser.add_argument(
            option(each.name), metavar="N" if isinstance(each.default, int) else "NAME",
            help=f"or {variable(each.name)}; at first {default}",
        )  # fmt: skip


def chosen(place: Place, options: Mapping[str, str | None]) -> Settings:
    """Take each setting from the options, the environment, what was chosen before, or the default.

    Raises InputError.
    """
    settings = kept(place)
    for each in fields(Settings):
        text = options.get(each.name) or os.environ.get(variable(each.name))
        if text:
            value: Any = _typed(each.name, text, each.default)
            settings = replace(settings, **{each.name: value})
    settings.ports()
    return settings


def kept(place: Place) -> Settings:
    """Read what the last `make up` chose; the defaults before the first. Raises StorageError."""
    if not place.settings.exists():
        return Settings()
    known = {each.name for each in fields(Settings)}
    try:
        found = json.loads(place.settings.read_text(encoding="utf-8"))
        return Settings(**{name: value for name, value in found.items() if name in known})
    except (OSError, ValueError, AttributeError) as error:
        raise StorageError(
            f"{place.settings}: cannot be read ({error}). Remove it, then choose again."
        ) from None


def keep(place: Place, settings: Settings) -> None:
    """Write the settings for the supervisor and the next command."""
    write_whole(place.settings, json.dumps(asdict(settings), indent=1).encode())


def _typed(name: str, text: str, default: object) -> int | str:
    if isinstance(default, str):
        return text
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise InputError(f"{option(name)}: must be a whole number above 0, got {text!r}.")
    return int(text)

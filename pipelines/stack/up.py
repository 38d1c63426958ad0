"""`make up` and `make down`: have the servers running, or stopped."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monge import servers
from monge.errors import EnvironmentFault, MissingExtra, ServiceError
from pipelines.stack import passwords, ports, process, store, supervisor
from pipelines.stack.passwords import Passwords, write_private
from pipelines.stack.settings import Place, Settings, chosen, keep, kept
from pipelines.stack.table import POOL, Service, clients, prefect_file, table

_NEEDED = ("psycopg2", "boto3", "dvc_s3", "asyncpg", "mlflow", "prefect", "fastapi")
_TRIES = 4
_DOWN_S = 300.0
"""More than all servers may take, one after the other."""


def up(
    place: Place, options: Mapping[str, str | None], timeout_s: float, say: Callable[[str], None]
) -> None:
    """Start what does not run, and what its settings have changed for; wait until all is well.

    Raises MongeError.
    """
    _check_extras()
    settings = chosen(place, options)
    place.make()
    secret = passwords.load(place.state, os.environ)
    rows = table(place, settings, secret)
    _check_ports(place, settings, rows)
    keep(place, settings)
    _tell_clients(place, settings, secret)
    before = supervisor.report(place).get("generation", 0)
    running = supervisor.pid(place)
    if running is None:
        place.report.unlink(missing_ok=True)
        supervisor.start(place)
        before = 0
    else:
        os.kill(running, signal.SIGHUP)
    _wait(place, rows, before, timeout_s, say)
    if file := prefect_file(place):
        say(f"{'':<12}Prefect's runs are in {file}: this PostgreSQL has no pg_trgm")
    say(store.connect_dvc(place, settings, secret))
    _deploy(place, settings, secret, say)


def down(place: Place, say: Callable[[str], None]) -> None:
    """Stop all servers in order; data, logs and settings stay. Raises ServiceError."""
    rows = table(place, kept(place), passwords.load(place.state)) if place.state.is_dir() else {}
    there = [row.title for row in rows.values() if process.known(place.state, row.name)]
    running = supervisor.pid(place)
    if running is not None:
        os.kill(running, signal.SIGTERM)
        deadline = time.monotonic() + _DOWN_S
        while supervisor.pid(place) is not None:
            if time.monotonic() > deadline:
                os.kill(running, signal.SIGKILL)
                break
            time.sleep(0.1)
    supervisor.stop_left(place, rows.values())
    place.report.unlink(missing_ok=True)
    stopped = f"stopped: {', '.join(there)}" if there else "no server was running"
    say(f"{stopped}. Data stay in {place.state}; `make up` goes on from there.")


def _check_extras() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtra(
            f"the servers need more than is installed (no module {missing[0]}): pip install "
            "'monge[stack]'."
        )


def _check_ports(place: Place, settings: Settings, rows: Mapping[str, Service]) -> None:
    """Each port that we are about to take must be free, or be one that we have now."""
    ours = _taken_now(place)
    wanted: dict[int, str] = {}
    for row in rows.values():
        if process.known(place.state, row.name) is None or not set(row.ports) <= ours:
            wanted |= {port: row.title for port in row.ports if port not in ours}
    ports.require(settings, wanted)


def _taken_now(place: Place) -> set[int]:
    """The ports of those of our servers that run."""
    before = table(place, kept(place), passwords.load(place.state))
    runs = [row for row in before.values() if process.known(place.state, row.name)]
    return {port for row in runs for port in row.ports}


def _tell_clients(place: Place, settings: Settings, secret: Passwords) -> None:
    """Write what `make run`, `make schedule` and `monge` read in this checkout."""
    pairs = clients(settings, secret).items()
    lines = ["# Written by `make up`. Remove it to use the embedded servers again."]
    lines += [f"{name}={value}" for name, value in pairs]
    write_private(place.checkout / servers.FILE, "\n".join(lines) + "\n")


def _wait(
    place: Place, rows: Mapping[str, Service], before: int, timeout_s: float,
    say: Callable[[str], None],
) -> None:  # fmt: skip
    """Wait until each is up or waits for what only a person can give; say each as it comes."""
    deadline, told, failures = time.monotonic() + timeout_s, set[str](), dict[str, int]()
    while len(told) < len(rows):
        facts = supervisor.report(place)
        found = facts.get("servers", {}) if facts.get("generation", 0) > before else {}
        for name, now in found.items():
            row, first = rows[name], failures.setdefault(name, now["restarts"])
            if name not in told and _settled(now, row):
                told.add(name)
                say(f"{row.title:<12}{now['state']:<8}{now['told'] or row.address}")
            elif now["restarts"] - first >= _TRIES:
                raise ServiceError(_reason(place, row, now))
        if supervisor.pid(place) is None or time.monotonic() > deadline:
            late = next(row for name, row in rows.items() if name not in told)
            raise ServiceError(_reason(place, late, found.get(late.name, {})))
        time.sleep(0.2)


def _settled(now: Mapping[str, Any], row: Service) -> bool:
    return now.get("state") in ("up", "idle") and bool(now.get("fingerprint") == row.fingerprint)


def _reason(place: Place, row: Service, now: Mapping[str, Any]) -> str:
    why = now.get("told") or now.get("state") or "no supervisor runs"
    return (
        f"{row.title} is not up ({why}); its words are in {place.logs / row.name}.log. "
        "`make status` shows all; the same command goes on."
    )


def _deploy(
    place: Place, settings: Settings, secret: Passwords, say: Callable[[str], None]
) -> None:
    """Give the Prefect server the table of deployments, for the worker that runs here."""
    words = ["deploy", "--pool", POOL, "--trainings", str(settings.trainings)]
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", *words], cwd=place.checkout, text=True,
        env=os.environ | clients(settings, secret), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    if done.returncode:
        raise EnvironmentFault("\n".join(lines[-5:]) or "no deployment could be made.")
    for line in lines:
        if not line.startswith("start a worker") and ": unchanged" not in line:
            say(line)


def checkout() -> Place:
    """The checkout of the current folder."""
    from monge.products import home

    return Place(home(Path.cwd()))

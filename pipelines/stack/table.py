"""The servers, one row each: what is run, with what, after whom, and how its health is asked."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals

from monge.params.file import read as read_params
from pipelines.stack import health, postgres, store
from pipelines.stack.passwords import Passwords
from pipelines.stack.settings import HOST, VARIABLES, Place, Settings

POOL = "monge"
_OTHERS = ("PREFECT_", "MLFLOW_", "AWS_", "DVC_", "PG", VARIABLES, "MONGE_SERVERS", "MONGE_PAR")
_SILENT = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "true", "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true", "ORT_DISABLE_TELEMETRY": "1", "PYTHONUNBUFFERED": "1",
}  # fmt: skip


def _nothing() -> None:
    """Do nothing."""


def _at_once() -> str:
    return ""


@dataclass(frozen=True)
class Service:
    """One server. `health` asks it; `prepare` goes before each start, `provide` follows it.

    `waits` says why it is not to be started yet, with nothing where it may.
    """

    name: str
    title: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    address: str
    health: Callable[[], bool]
    ports: tuple[int, ...] = ()
    data: Path | None = None
    after: tuple[str, ...] = ()
    prepare: Callable[[], None] = _nothing
    provide: Callable[[], None] = _nothing
    waits: Callable[[], str] = _at_once
    user: str | None = None
    stop: Signals = SIGTERM
    stop_s: float = 30.0
    extra: tuple[str, ...] = field(default=())

    @property
    def fingerprint(self) -> str:
        """Hash what it was made of: another one means that it must be started again."""
        made_of = [self.command, sorted(self.environment.items()), str(self.folder), self.extra]
        return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]

    def whole_environment(self) -> dict[str, str]:
        """Ours over the machine's own, without what a shell says for other servers.

        The shell's PATH is no setting of ours: `make up` of another shell restarts nothing.
        """
        base = {key: value for key, value in os.environ.items() if not key.startswith(_OTHERS)}
        commands = [str(Path(sys.executable).parent), base.get("PATH", os.defpath)]
        return {**base, "PATH": os.pathsep.join(commands), **self.environment}


def table(place: Place, settings: Settings, passwords: Passwords) -> dict[str, Service]:
    """All servers by name, in the order in which they are started."""
    rows = (
        _postgres(place, settings, passwords), _store(place, settings, passwords),
        _mlflow(place, settings, passwords), _prefect(place, settings, passwords),
        _worker(place, settings, passwords), _service(place, settings),
    )  # fmt: skip
    return {row.name: row for row in rows}


def clients(settings: Settings, passwords: Passwords) -> dict[str, str]:
    """Give the environment in which the checkout's own commands use these servers."""
    return {
        "MLFLOW_TRACKING_URI": _url(settings.mlflow_port),
        "PREFECT_API_URL": f"{_url(settings.prefect_port)}/api",
        "PREFECT_API_AUTH_STRING": f"monge:{passwords.prefect}",
    }


def model_name(place: Place, settings: Settings) -> str:
    """The model whose champion is served: the one that was chosen, or that of params.yaml."""
    if settings.model:
        return settings.model
    promote = read_params(place.checkout / "params.yaml").get("promote")
    return str(promote.get("name", "monge")) if isinstance(promote, dict) else "monge"


def _postgres(place: Place, settings: Settings, passwords: Passwords) -> Service:
    port = settings.postgres_port
    return Service(
        name="postgres", title="PostgreSQL", command=postgres.command(place.state, port),
        environment={"LC_ALL": "C"}, folder=Path("/"), address=f"{HOST}:{port}", ports=(port,),
        data=postgres.folder(place.state), user=postgres.user(), stop=SIGINT, stop_s=60.0,
        health=functools.partial(health.is_postgres, HOST, port),
        prepare=functools.partial(postgres.prepare, place.state, passwords),
        provide=functools.partial(postgres.provide, port, passwords),
        extra=(_hash(passwords.database),),  # `provide` gives the role another one
    )  # fmt: skip


def _store(place: Place, settings: Settings, passwords: Passwords) -> Service:
    data, url = place.state / "store", store.url(settings.s3_port)
    return Service(
        name="store", title="SeaweedFS", command=store.command(data, settings), environment={},
        folder=data, address=url, ports=settings.store_ports, data=data,
        health=functools.partial(health.answers, url, any_status=True),
        prepare=functools.partial(store.prepare, data, passwords),
        provide=functools.partial(store.provide, settings.s3_port, passwords),
        extra=(_hash(passwords.store),),
    )  # fmt: skip


def _mlflow(place: Place, settings: Settings, passwords: Passwords) -> Service:
    port = settings.mlflow_port
    environment = _SILENT | {
        "MLFLOW_BACKEND_STORE_URI": postgres.address(settings.postgres_port, passwords, "mlflow"),
        "MLFLOW_S3_ENDPOINT_URL": store.url(settings.s3_port),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "AWS_ACCESS_KEY_ID": store.KEY,
        "AWS_SECRET_ACCESS_KEY": passwords.store,
        "AWS_DEFAULT_REGION": store.REGION,
        # With a key of each start's own, MLflow could read no webhook after the next one.
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": _fernet_key(passwords.webhooks),
        # Receivers are on this machine or beside it, and so is whoever can reach this server.
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
    }
    return Service(
        name="mlflow", title="MLflow", environment=environment, folder=place.state,
        command=_module("mlflow", "server", "--artifacts-destination",
                        f"s3://{store.ARTIFACTS}/artifacts", "--host", HOST, "--port", str(port),
                        "--workers", "1"),
        address=_url(port), ports=(port,), after=("postgres", "store"),
        health=functools.partial(health.answers, f"{_url(port)}/health"),
    )  # fmt: skip


def _prefect(place: Place, settings: Settings, passwords: Passwords) -> Service:
    port = settings.prefect_port
    environment = _SILENT | {
        "PREFECT_HOME": str(place.state / "prefect"),
        "PREFECT_API_DATABASE_CONNECTION_URL": _prefect_database(place, settings, passwords),
        "PREFECT_SERVER_API_AUTH_STRING": f"monge:{passwords.prefect}",
        # A place that a killed run held comes free again, also after a restart.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE":
            "prefect.server.concurrency.lease_storage.filesystem",
    }  # fmt: skip
    return Service(
        name="prefect", title="Prefect", environment=environment, folder=place.state,
        command=_module("prefect", "server", "start", "--host", HOST, "--port", str(port)),
        address=_url(port), ports=(port,), after=("postgres",), data=place.state / "prefect",
        health=functools.partial(health.answers, f"{_url(port)}/api/ready"),  # its database, too
    )  # fmt: skip


def prefect_file(place: Place) -> Path | None:
    """The file of Prefect's database where PostgreSQL cannot hold it; what began so stays so."""
    file = place.state / "prefect" / "prefect.db"
    return file if file.exists() or not postgres.has_trigrams(place.state) else None


def _prefect_database(place: Place, settings: Settings, passwords: Passwords) -> str:
    file = prefect_file(place)
    if file is not None:
        return f"sqlite+aiosqlite:///{file}"
    return postgres.address(settings.postgres_port, passwords, "prefect", driver="asyncpg")


def _hash(secret: str) -> str:
    """Stand for a secret in a fingerprint."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _fernet_key(secret: str) -> str:
    """A secret in the form that Fernet takes: 32 bytes in base64."""
    return base64.urlsafe_b64encode(hashlib.sha256(secret.encode()).digest()).decode()


def _worker(place: Place, settings: Settings, passwords: Passwords) -> Service:
    port = settings.worker_port
    # In the machine's own, Prefect's `runner_storage` belongs to the first user who had a worker.
    temporary = place.state / "tmp"
    environment = _SILENT | clients(settings, passwords) | {
        "PREFECT_HOME": str(place.checkout / ".prefect"), "TMPDIR": str(temporary),
        "PREFECT_WORKER_WEBSERVER_HOST": HOST, "PREFECT_WORKER_WEBSERVER_PORT": str(port),
    }  # fmt: skip
    return Service(
        name="worker", title="worker", environment=environment, folder=place.checkout,
        command=_module("prefect", "worker", "start", "--pool", POOL, "--type", "process",
                        "--name", "make-up", "--limit", str(settings.trainings + 1),
                        "--with-healthcheck"),
        address=f"pool {POOL}", ports=(port,), after=("prefect", "mlflow"), stop_s=60.0,
        health=functools.partial(health.answers, f"{_url(port)}/health"),
        prepare=functools.partial(temporary.mkdir, exist_ok=True),
    )  # fmt: skip


def _service(place: Place, settings: Settings) -> Service:
    port, name = settings.service_port, model_name(place, settings)
    registry = _url(settings.mlflow_port)
    return Service(
        name="service", title="service", folder=place.checkout,
        environment=_SILENT | {"MLFLOW_TRACKING_URI": registry},
        command=_module("monge", "serve", f"models:/{name}@champion", "--port", str(port)),
        address=_url(port), ports=(port,), after=("mlflow",), stop_s=65.0,
        health=functools.partial(health.answers, f"{_url(port)}/v2/health/ready"),
        waits=functools.partial(_no_champion, registry, name),
    )  # fmt: skip


def champion(registry: str, name: str) -> str:
    """The version that has the alias `champion`, empty where there is none. Raises OSError."""
    query = f"registered-models/alias?name={name}&alias=champion"
    found = json.loads(health.get(f"{registry}/api/2.0/mlflow/{query}"))
    return str(found["model_version"]["version"])


def _no_champion(registry: str, name: str) -> str:
    try:
        return "" if champion(registry, name) else f"waits for the first champion of {name}"
    except OSError:
        return f"waits for the first champion of {name}"


def _module(name: str, *words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", name, *words)


def _url(port: int) -> str:
    return f"http://{HOST}:{port}"

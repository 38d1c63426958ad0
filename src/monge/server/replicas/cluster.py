"""`monge serve --replicas`: on a Ray that is started here, or on the cluster of RAY_ADDRESS."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
import secrets
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from monge.errors import DeviceError, InputError, MissingExtra, MongeError, ServiceError
from monge.server.middleware.admission import TOKEN, address, admission, listening
from monge.server.replicas import ray_proxy
from monge.server.replicas.replica import Replicas, ReplicaSettings, application
from monge.server.run import DRAIN_S, ended
from monge.server.settings import Settings

RAY_ADDRESS = "RAY_ADDRESS"

_NAME = "monge"
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LOOK_S = 2.0
_ALIVE_S = 20.0
_STORE_BYTES = 256 << 20
_LONGEST_FOLDER = 30  # Ray makes sockets 70 characters deeper, and a socket's path ends at 107
_REGISTRY = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MONGE_VERIFY_KEY")
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0", "RAY_COLOR_PREFIX": "0"}
# On a busy machine its web server takes longer to start than the five seconds that Ray gives it.
_PATIENT = {
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "50",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "30",
}
_CLOSED = {
    "RAY_AUTH_MODE": "token",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # a Ray of one machine: everything on loopback
    ray_proxy.ENVIRONMENT: ray_proxy.IMPORT_PATH,
}

Result = TypeVar("Result")

log = logging.getLogger(__name__)


class _Stop(BaseException):
    """A signal came."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def serve(model: str, replicas: Replicas, settings: Settings) -> None:
    """Serve a model by several processes until SIGTERM or SIGINT; what was accepted is answered.

    Raises InputError where a token is needed and there is none, MissingExtra without Ray,
    ServiceError when Ray or the replicas do not start, and whatever opening the model raises.
    """
    said, wanted = settings, admission(settings)
    there, port = os.environ.get(RAY_ADDRESS), said.port
    if there:
        _check_cluster(wanted.token, port)
        if not said.allowed_hosts:
            wanted = dataclasses.replace(wanted, hosts=None)
    else:
        with listening(said.host, port) as free:
            port = free.getsockname()[1]
    _set_environment(there)
    from monge.server.models import open_model

    if not there:
        # A wrong one is one line, before Ray starts.
        open_model(model, "cpu", replicas.threads, said.batches)
    provider = said.provider
    if provider == "auto" and not replicas.gpus:
        provider = "cpu"  # Ray hides no GPU: all replicas would take the first one
        log.info("the replicas draw on the CPU; --provider cuda gives each a GPU")
    copied = ReplicaSettings(
        model=_absolute(model), provider=provider, threads=replicas.threads, limits=said.limits,
        poll_s=said.poll_s, admission=wanted, batches=said.batches, marks=said.marks,
    )  # fmt: skip
    try:
        with _ray(there, replicas):
            _deploy(replicas, copied, said.host, port, bool(there))
            log.info("%s on %s (%s)", model, address(said.host, port), _counted(replicas))
            _watch()
    except _Stop as stop:
        ended(stop.number)


def _check_cluster(token: str | None, port: int) -> None:
    if token is None:
        raise InputError(
            f"{RAY_ADDRESS} is set, and a cluster's machines can be asked by others, so a token is "
            f"needed: put one into a file for --token-file, or into {TOKEN}. Without "
            f"{RAY_ADDRESS} the replicas run on this machine."
        )
    if port == 0:
        raise InputError("a cluster's machines all take the same port: say which with --port.")


def _set_environment(there: str | None) -> None:
    """Ray reads its environment when it is imported."""
    for name, value in (_QUIET | _PATIENT).items():
        os.environ.setdefault(name, value)
    if not there:
        os.environ.update(_CLOSED, RAY_AUTH_TOKEN=secrets.token_hex(32))
    try:
        import ray.serve  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"--replicas needs Ray (no module {error.name}): pip install 'monge[ray]'."
        ) from None
    logging.getLogger("ray.serve").setLevel(logging.WARNING)


@contextlib.contextmanager
def _ray(there: str | None, replicas: Replicas) -> Iterator[None]:
    """Start Ray here, or join the cluster; end what was started, whatever happens."""
    import ray

    folder, ours, started = _folder(), False, False
    try:
        _arm()
        if there:
            with _said(f"the Ray of {RAY_ADDRESS} {there} does not answer"):
                ours = _join(there)
        else:
            with _said("Ray did not start"):
                _start_here(replicas, folder)
        _arm()  # again: Ray took SIGTERM for itself
        started = True
        yield
    except SystemExit:  # how Ray ends at a SIGTERM that comes while it starts
        raise _Stop(signal.SIGTERM) from None
    finally:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        if ray.is_initialized():
            if started and _within(_ALIVE_S, _alive):
                _within(DRAIN_S + _ALIVE_S, lambda: _drain(end=ours))
            ray.shutdown(wait_for_processes=True)
        shutil.rmtree(folder, ignore_errors=True)


def _join(there: str) -> bool:
    """Join a cluster; whether Ray Serve will be ours, and not somebody's before."""
    import ray
    from ray import serve

    ray.init(address=there, logging_level=logging.WARNING)
    if serve.status().proxies:
        log.warning("Ray Serve runs there already: its own host and port hold.")
        return False
    return True


def _start_here(replicas: Replicas, folder: Path) -> None:
    import ray

    cores = (replicas.most or replicas.least) * replicas.threads
    ray.init(
        address="local",
        num_cpus=max(os.cpu_count() or 1, cores),  # it counts them only; the system shares them out
        include_dashboard=False,
        object_store_memory=_STORE_BYTES,
        logging_level=logging.WARNING,
        _temp_dir=str(folder / "ray"),
    )
    here = ray.cluster_resources().get("GPU", 0.0)
    if replicas.gpus * replicas.least > here:
        raise DeviceError(
            f"{replicas.least} replicas with {replicas.gpus:g} GPU each, and Ray finds {here:g} "
            "here. Give fewer --replicas, a part of one with --replica-gpus, or --provider cpu."
        )


def _deploy(replicas: Replicas, copied: ReplicaSettings, host: str, port: int, there: bool) -> None:
    from ray import serve

    quiet = {"log_level": "WARNING", "enable_access_log": False}
    carried = {name: os.environ[name] for name in _REGISTRY if there and name in os.environ}
    built = application(replicas, copied, carried)
    with _said("Ray Serve did not start"):
        serve.start(http_options={"host": host, "port": port}, logging_config=quiet)
    try:
        serve.run(built, name=_NAME, logging_config=quiet)
    except Exception as error:
        found = serve.status().applications.get(_NAME)
        told = found.deployments.values() if found else ()
        reasons = [_line(deployment.message) for deployment in told if deployment.message]
        reason = " ".join(reasons) or _line(error)
        raise ServiceError(f"the replicas do not start: {reason}") from error


def _drain(end: bool) -> bool:
    """Let the replicas answer what they have, then `end` Ray Serve as well."""
    from ray import serve

    try:
        serve.delete(_NAME)
        if end:
            serve.shutdown()
    except Exception as error:  # Ray itself is gone, or was not yet there
        log.warning("Ray Serve did not end in order: %s", _line(error))
    return True


def _watch() -> None:
    """Wait for a signal. Raises ServiceError when Ray ends by itself: nobody would answer then."""
    while True:
        time.sleep(_LOOK_S)
        if not _within(_ALIVE_S, _alive):
            raise ServiceError("Ray has ended, and the replicas with it. Start the same again.")


def _alive() -> bool:
    import ray

    try:
        return any(node["Alive"] for node in ray.nodes())
    except Exception:
        return False


def _within(seconds: float, work: Callable[[], Result]) -> Result | None:
    """Do what may wait for ever where Ray is gone; None when it did not end in time."""
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(work()), daemon=True)
    thread.start()
    thread.join(seconds)
    return results[0] if results else None


@contextlib.contextmanager
def _said(what: str) -> Iterator[None]:
    """Turn what Ray raises into one line."""
    try:
        yield
    except MongeError:
        raise
    except Exception as error:
        raise ServiceError(f"{what}: {_line(error)}") from error


def _line(error: object) -> str:
    """Take the last line of what went wrong: of a traceback that is the reason."""
    last = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
    return re.sub(r"^monge\.errors\.\w+: ", "", last)[:500]


def _arm() -> None:
    def stop(number: int, _: object) -> None:
        raise _Stop(number)

    for number in _SIGNALS:
        signal.signal(number, stop)


def _folder() -> Path:
    """Make a folder that only this user can look into: Ray lets everybody into its own."""
    where = tempfile.gettempdir()
    return Path(
        tempfile.mkdtemp(prefix="monge-", dir=where if len(where) <= _LONGEST_FOLDER else "/tmp")
    )


def _absolute(model: str) -> str:
    return model if "://" in model or model.startswith("models:/") else str(Path(model).resolve())


def _counted(replicas: Replicas) -> str:
    most = "" if replicas.most is None else f" to {replicas.most}"
    return f"{replicas.least}{most} replicas"

"""Prefect's own server for one run, where the environment names none.

Prefect would start one itself, and import all of it into the flow's process first. Here the server
starts before the flow does, so that both are imported at the same time, and each only once.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from monge.errors import ServiceError
from pipelines import child
from pipelines.server import answers

EMBEDDED = "MONGE_EMBEDDED_PREFECT"
"""The variable that has the API's address, in processes whose server is starting."""

START_S = 120.0
"""The time that the server may take: the first one of a project makes its database."""

_GRACE_S = 5.0
_SERVE = (sys.executable, "-m", "pipelines.embedded")
# As Prefect's own way sets them: no pages, and the services of a server that lives for one run.
_SERVER = {
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
}


@contextmanager
def server() -> Iterator[tuple[dict[str, str], tuple[int, ...]]]:
    """Start a server, unless PREFECT_API_URL names one.

    Yields the variables of the flow's environment, and the files that it must inherit: the server
    ends when no process holds them any more, however that went.
    """
    if os.environ.get("PREFECT_API_URL"):
        yield {}, ()
        return
    with socket.socket() as door:
        # It listens from now on: who connects before the server is there waits for it.
        door.bind(("127.0.0.1", 0))
        door.listen(1024)
        api = f"http://127.0.0.1:{door.getsockname()[1]}/api"
        end, held = os.pipe()
        process = subprocess.Popen(
            child.guarded(_GRACE_S, [*_SERVE, str(door.fileno())]), env=os.environ | _SERVER,
            stdin=end, pass_fds=[door.fileno()], start_new_session=True,
        )  # fmt: skip
        os.close(end)
    try:
        # There are no pages to point to, and no proxy knows the way here.
        variables = {"PREFECT_API_URL": api, "PREFECT_UI_URL": "", EMBEDDED: api}
        yield variables | {"no_proxy": _direct()}, (held,)
    finally:
        os.close(held)
        process.wait()


def _direct() -> str:
    """The hosts that are asked without a proxy: this machine as well."""
    named = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    return ",".join(filter(None, (named, "127.0.0.1")))


def ready() -> None:
    """Wait for the server that is starting, if one is. Raises ServiceError if it does not come."""
    api = os.environ.get(EMBEDDED)
    if api and not answers(api, START_S):
        raise ServiceError(
            "Prefect's own server, for this run, did not start; what it said is above. Its "
            f"database is in {os.environ['PREFECT_HOME']}: move that folder away to begin with a "
            "new one."
        )


def _serve(door: int) -> None:
    """Be that server, at a socket that listens."""
    import uvicorn
    from prefect.server.api.server import create_app

    uvicorn.run(create_app(), fd=door, log_level="error", lifespan="on")


if __name__ == "__main__":
    _serve(int(sys.argv[1]))

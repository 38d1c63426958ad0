"""Protects: a run without a server of its own gets one at once, and none outlives it."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from monge.errors import ServiceError
from pipelines import embedded

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.timeout(400)
FLOW = """
import time
from pipelines import embedded
embedded.ready()
print("ready", flush=True)
time.sleep(600)
"""
RUN = f"""
import os, subprocess, sys
from pipelines import embedded
with embedded.server() as (api, held):
    child = subprocess.Popen(
        [sys.executable, "-c", {FLOW!r}], env=os.environ | api, pass_fds=held,
        start_new_session=True,
    )
    print(api["PREFECT_API_URL"], child.pid, flush=True)
    child.wait()
"""


def closed(api, within_s):
    """Tell whether nobody listens there any more."""
    port, until = int(api.split(":")[2].partition("/")[0]), time.monotonic() + within_s
    while time.monotonic() < until:
        with socket.socket() as caller:
            if caller.connect_ex(("127.0.0.1", port)) != 0:
                return True
        time.sleep(0.1)
    return False


def test_it_answers_who_asks_before_it_is_there_and_ends_with_who_holds_it(tmp_path):
    nobody = "http://127.0.0.1:9"  # a company's proxy, which does not know the way back here
    environment = os.environ | {"PREFECT_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    environment |= {"http_proxy": nobody, "HTTP_PROXY": nobody, "NO_PROXY": "intern.example"}
    for name in ("PREFECT_API_URL", "no_proxy"):
        environment.pop(name, None)
    run = subprocess.Popen(
        [sys.executable, "-c", RUN], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    api, flow = run.stdout.readline().split()
    try:
        assert run.stdout.readline() == "ready\n"
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        assert not closed(api, 2.0)  # the flow still works with it
    finally:
        os.kill(int(flow), signal.SIGKILL)
        run.stdout.close()
    assert closed(api, 60.0)


def test_a_database_that_is_broken_is_said_at_once_with_the_way_on(tmp_path, monkeypatch, capfd):
    (tmp_path / "prefect.db").write_bytes(b"no database " * 1000)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with embedded.server() as (api, _):
        monkeypatch.setenv(embedded.EMBEDDED, api[embedded.EMBEDDED])
        with pytest.raises(ServiceError, match="move that folder away") as caught:
            embedded.ready()
    assert str(tmp_path) in str(caught.value)
    assert "file is not a database" in capfd.readouterr().err


def test_where_a_server_is_named_none_is_started(monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.delenv(embedded.EMBEDDED, raising=False)
    with embedded.server() as (variables, held):
        assert (variables, held) == ({}, ())
    embedded.ready()

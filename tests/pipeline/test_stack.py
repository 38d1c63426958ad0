"""Protects: one command has all servers running, again after every kill, and their data stay."""

import base64
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import pytest

from tests.pipeline.conftest import Project

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != "linux", reason="the servers' wheels are Linux's"),
]
PORTS = ("postgres", "s3", "master", "volume", "filer", "mlflow", "prefect", "service")


class Stack(Project):
    """A project and the commands for its servers."""

    def __init__(self, folder):
        super().__init__(folder)
        if not (folder / "studies").exists():  # one of the deployments tries them
            shutil.copytree(self.root() / "studies", folder / "studies")
        ports = free_ports(len(PORTS))
        self.ports = dict(zip(PORTS, ports, strict=True))

    @property
    def environment(self):
        ours = {f"MONGE_UP_{name.upper()}_PORT": str(port) for name, port in self.ports.items()}
        kept = {k: v for k, v in super().environment.items() if k != "MONGE_SERVERS"}
        return kept | ours | {"MONGE_UP_MODEL": "tiny"}

    def command(self, name, *words, check=True):
        return self.run(sys.executable, "-m", "pipelines.stack", name, *words, check=check).stdout

    def status(self):
        facts = json.loads(self.command("status", "--json", check=False))
        return facts | {"servers": {each["name"]: each for each in facts["servers"]}}

    def pids(self):
        return {name: each["pid"] for name, each in self.status()["servers"].items()}

    def wait(self, holds):
        """Until the status is as it should be; what it was at last, if it never is."""
        deadline = time.monotonic() + 240
        while not holds(facts := self.status()):
            assert time.monotonic() < deadline, facts
            time.sleep(0.5)
        return facts


def free_ports(count):
    """Ports that are free, as are those 10,000 higher, and below those that clients get."""
    found: list[int] = []
    for port in range(20_000 + os.getpid() % 2_000, 22_700):
        if len(found) == count:
            return found
        with socket.socket() as one, socket.socket() as other:
            try:
                one.bind(("127.0.0.1", port))
                other.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            found.append(port)
    raise AssertionError("no free ports")


@pytest.fixture(scope="module")
def stack():
    """All servers, of a project with tiny parameters, in a folder that any user may pass."""
    folder = Path(tempfile.mkdtemp(prefix="monge-stack-"))
    folder.chmod(0o711)
    stack = Stack(folder / "project")
    try:
        yield stack
    finally:
        stack.command("down", check=False)
        stack.end()
        shutil.rmtree(folder, ignore_errors=True)


def marked(stack):
    """The processes that have the mark of this project's servers, postgres's children aside."""
    mark = f"MONGE_STACK={stack.folder.resolve()}/".encode()
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and mark in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def ask(url, body=None, login=""):
    """A server's answer to GET, or to POST of a body."""
    headers = {"Content-Type": "application/json"}
    if login:
        headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=60) as answer:
        return json.load(answer)


def mlflow(stack, path, body=None):
    return ask(f"http://127.0.0.1:{stack.ports['mlflow']}/api/2.0/mlflow/{path}", body)


def prefect(stack, path, body=None):
    lines = (stack.folder / ".monge/servers.env").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if "=" in line)
    return ask(f"{given['PREFECT_API_URL']}/{path}", body, given["PREFECT_API_AUTH_STRING"])


def versions(stack):
    found = mlflow(stack, "model-versions/search").get("model_versions", [])
    return [each["name"] for each in found]


def test_all_servers_come_up_and_a_second_time_nothing_is_restarted(stack):
    said = stack.command("up")
    for title in ("PostgreSQL", "SeaweedFS", "MLflow", "Prefect", "worker"):
        assert f"{title:<12}up" in said
    assert "waits for the first champion of tiny" in said
    assert "nightly: made" in said
    before = stack.pids()
    assert "made" not in stack.command("up")
    assert stack.pids() == before
    for name in (".monge/servers.env", ".monge/stack/secrets.json", ".dvc/config.local"):
        assert (stack.folder / name).stat().st_mode & 0o777 == 0o600
    secrets = json.loads((stack.folder / ".monge/stack/secrets.json").read_text()).values()
    for pid in marked(stack):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
        assert not any(secret in words for secret in secrets), words


def test_a_run_uses_them_and_its_champion_is_served(stack, tiny):
    # Its secret is encrypted, with a key that has to be kept: the list after a restart tells.
    events = [{"entity": "PROMPT", "action": "CREATED"}]
    hook = {"name": "hook", "url": f"http://127.0.0.1:{stack.ports['service']}/", "events": events}
    mlflow(stack, "webhooks", hook | {"secret": "a secret of ours"})
    said = stack.retrain(*tiny).stdout
    assert f"servers of `make up`: MLflow http://127.0.0.1:{stack.ports['mlflow']}" in said
    assert versions(stack) == ["tiny"]
    assert not (stack.folder / "mlflow.db").exists()
    stack.run("monge", "promote", "--force", "--reason", "tiny, and yet to be served")
    stack.run("dvc", "push", "--quiet")
    facts = stack.wait(lambda facts: facts["servers"]["service"]["state"] == "up")
    assert facts["champion"] == "tiny version 1"
    assert facts["well"]
    assert len(facts["next"]) > 0
    screen = stack.command("status")
    assert max(map(len, screen.splitlines())) <= 80
    body = json.dumps({"n": 2, "seed": 1}).encode()
    url = f"http://127.0.0.1:{stack.ports['service']}/v1/samples"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200


def test_their_worker_does_what_a_person_starts_on_prefect_s_page(stack):
    deployment = prefect(stack, "deployments/name/generate/project-generate")["id"]
    asked = {"folder": "drawn", "n": 20, "shard_size": 10}
    body = {"parameters": asked, "state": {"type": "SCHEDULED"}}
    run = prefect(stack, f"deployments/{deployment}/create_flow_run", body)["id"]
    deadline = time.monotonic() + 240
    while (state := prefect(stack, f"flow_runs/{run}")["state"])["type"] != "COMPLETED":
        assert state["type"] not in ("FAILED", "CRASHED"), state
        assert time.monotonic() < deadline, state
        time.sleep(0.5)
    assert len(list((stack.folder / "drawn").glob("*.tar"))) == 2


def test_each_server_that_is_killed_is_started_again(stack):
    before = stack.pids()
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)

    def back(facts):
        now = {name: each["pid"] for name, each in facts["servers"].items()}
        return facts["well"] and not set(now.values()) & {*before.values(), None}

    facts = stack.wait(back)
    assert facts["servers"]["service"]["state"] == "up"
    assert versions(stack) == ["tiny"]
    listed = mlflow(stack, "webhooks")  # answered 500 where the key had changed
    assert [each["name"] for each in listed["webhooks"]] == ["hook"]


def test_a_killed_supervisor_is_replaced_by_one_that_takes_the_servers_over(stack):
    before = stack.pids()
    os.kill(stack.status()["supervisor"], signal.SIGKILL)
    facts = stack.wait(lambda facts: facts["supervisor"] is None)
    assert not facts["well"]
    stack.command("up")
    assert stack.pids() == before


def test_down_leaves_no_process_and_up_finds_the_data(stack):
    began = time.monotonic()
    said = stack.command("down")
    assert "stopped: PostgreSQL, SeaweedFS, MLflow, Prefect, worker, service" in said
    assert time.monotonic() - began < 200
    assert marked(stack) == []
    told = stack.run("monge", "models", check=False)
    assert told.returncode == 3
    assert "No answer from MLflow and Prefect: `make up` starts what is missing" in told.stdout
    told = stack.run("monge", "models", MONGE_SERVERS="embedded").stdout
    assert "no model has a version yet" in told
    # As a power cut leaves them: a pid file whose number is another program's now.
    stale = {"pid": os.getpid(), "started": "before", "since_s": 0.0, "fingerprint": "x"}
    (stack.folder / ".monge/stack/run/store.json").write_text(json.dumps(stale))
    stack.command("up")
    assert versions(stack) == ["tiny"]
    (stack.folder / ".dvc" / "cache").rename(stack.folder / "cache-before")
    shutil.rmtree(stack.folder / "models")
    stack.run("dvc", "pull", "--quiet", "models/generator.onnx")
    assert (stack.folder / "models" / "generator.onnx").exists()

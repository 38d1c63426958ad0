"""Protects: who owns what is deployed, and what becomes of runs whose server or machine goes."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.pipeline.conftest import Project
from tests.pipeline.test_scheduled_chain import wait_for_server

pytestmark = pytest.mark.timeout(900)
DEPLOY = (sys.executable, "-m", "pipelines", "deploy")


class Server:
    """A real Prefect server, which can be killed and started again."""

    def __init__(self, project: Project) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        home = str(project.folder.parent / "server")
        address = f"http://127.0.0.1:{self.port}/api"
        self.api = {"PREFECT_API_URL": address, "PREFECT_HOME": home, "TZ": "Europe/Paris"}
        self.project = project
        self.start()

    def start(self):
        command = ("prefect", "server", "start", "--host", "127.0.0.1", "--port", self.port)
        quiet = {
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        }
        self.process = self.project.start(*command, **self.api, **quiet)
        wait_for_server(self.port)

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def ask(self, path, body=None):
        """The server's answer to GET, or to POST of a body."""
        request = urllib.request.Request(
            self.api["PREFECT_API_URL"] + path,
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def deployment(self, name):
        return self.ask(f"/deployments/name/{name}")

    def begin(self, name, **parameters):
        """The number of a run that is begun now."""
        number = self.deployment(name)["id"]
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return self.ask(f"/deployments/{number}/create_flow_run", body)["id"]

    def wait_for(self, run, *types):
        deadline = time.monotonic() + 400
        while time.monotonic() < deadline:
            state = self.ask(f"/flow_runs/{run}")["state"]
            if state["type"] in types:
                return state
            time.sleep(0.5)
        raise AssertionError(f"{state}, not {types}")


@pytest.fixture(scope="module")
def place(tmp_path_factory, request):
    """A project with a small training, committed; its name is that of its folder."""
    project = made(tmp_path_factory.mktemp("team") / "digits")
    yield project
    project.end()


@pytest.fixture(scope="module")
def server(place):
    return Server(place)


def made(folder):
    """A project with all that a deployment may run."""
    project = Project(folder)
    shutil.copytree(Project.root() / "studies", folder / "studies")
    return project


def commit(project):
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    for command in (("add", "-A"), (*who, "commit", "-qm", "what is there")):
        subprocess.run(["git", *command], cwd=project.folder, check=True)


def test_deploying_says_what_it_changes_and_touches_nothing_of_others(place, server, tmp_path):
    said = place.run(*DEPLOY, **server.api).stdout
    assert "work pool monge: made" in said
    assert re.search(r"retrain/digits-nightly: made; next: \w+ [\d-]+ 03:00 CES?T", said)
    nightly = server.deployment("retrain/digits-nightly")
    assert nightly["schedules"][0]["schedule"]["timezone"] == "Europe/Paris"
    assert nightly["work_queue_name"] == "training"
    form = nightly["parameter_openapi_schema"]["properties"]
    assert "section.key=value" in form["changes"]["description"]
    queue = server.ask("/work_pools/monge/queues/training")
    assert queue["concurrency_limit"] == 1

    # Another copy of the same name, and the same copy by another name.
    other = made(tmp_path / "digits")
    refused = other.run(*DEPLOY, check=False, **server.api)
    assert refused.returncode == 2
    assert "belongs to place:" in refused.stdout
    assert "MONGE_PROJECT=NAME" in refused.stdout
    said = other.run(*DEPLOY, **server.api, MONGE_PROJECT="faces").stdout
    assert "retrain/faces-nightly: made" in said

    # Paused by a person; a schedule changed and a row taken out by another.
    number = nightly["id"]
    server.ask(f"/deployments/{number}/pause_deployment", {})
    table = place.folder / "pipelines/deployments.py"
    text = table.read_text("utf-8")
    before, _, rest = text.partition('    Row(\n        "generate",')
    changed = before + rest.partition("\n    ),\n")[2]
    table.write_text(changed.replace('cron="0 3 * * *"', 'cron="30 4 * * *"'), "utf-8")
    said = place.run(*DEPLOY, **server.api).stdout
    table.write_text(text, "utf-8")
    assert (
        "digits-nightly: schedule 0 3 * * * (Europe/Paris) -> 30 4 * * * (Europe/Paris), paused"
        in said
    )
    assert "rejudge/digits-weekly: unchanged" in said
    assert "digits-generate: removed, it is not in the table any more" in said
    names = {each["name"] for each in server.ask("/deployments/filter", {})}
    assert {"digits-nightly", "digits-weekly", "faces-nightly", "faces-generate"} <= names
    assert "digits-generate" not in names
    assert server.deployment("retrain/digits-nightly")["paused"]


@pytest.fixture
def receiver():
    """The address of a program that takes webhooks, and what it has taken."""
    taken: list[dict[str, str]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    served = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}/", taken
    served.shutdown()
    served.server_close()


def test_a_schedule_outlives_its_server_and_leaves_nothing_paused(place, server, receiver):
    schedule = place.start(
        sys.executable, "-m", "pipelines.deployments", "--cron", "0 3 * * *", **server.api,
        # As after minutes of asking: Prefect's runner gives up when the server is away.
        PREFECT_CLIENT_MAX_RETRIES="0", PREFECT_RUNNER_POLL_FREQUENCY="1",
        MONGE_WEBHOOK_URL=receiver[0],
    )  # fmt: skip
    said = ""
    while "next: " not in said:
        said += read(schedule, said)
    server.kill()
    while "is away" not in said:
        said += read(schedule, said)
    server.start()
    while said.count("next: ") < 2:
        said += read(schedule, said)
    run = server.begin("retrain/digits-scheduled", changes=["train.stepz=3"])
    failed = server.wait_for(run, "FAILED")
    assert "train.stepz: unknown key. Did you mean train.steps?" in failed["message"]
    deadline = time.monotonic() + 60
    while not receiver[1] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [(each["event"], each["run_id"]) for each in receiver[1]] == [("failure", run)]
    assert receiver[1][0]["project"] == "digits"
    schedule.send_signal(signal.SIGTERM)
    said += schedule.communicate(timeout=120)[0]
    assert schedule.returncode == 0
    assert "the server plans no more runs" in said
    for noise in ("Traceback", "never awaited"):
        assert noise not in said
    left = server.deployment("retrain/digits-scheduled")
    assert (left["paused"], left["schedules"]) == (False, [])


def test_a_run_whose_machine_goes_has_crashed_and_the_next_clone_goes_on(
    place, server, tiny, tmp_path
):
    """The worker clones the project for each run, and removes the clone when the run ends."""
    commit(place)
    state = tmp_path / "state"
    where = ("--git", f"file://{place.folder}", "--state", state)
    place.run(*DEPLOY, *where, **server.api, MONGE_SILENT_S="40")
    server.ask(
        f"/deployments/{server.deployment('retrain/digits-nightly')['id']}/resume_deployment", {}
    )
    changes = [*tiny, "train.steps=4000"]
    first, worker = server.begin("retrain/digits-nightly", changes=changes), start_worker(server)
    wait_for_checkpoint(state, worker, 40)
    gone = [worker.pid, *descendants(worker.pid)]
    assert len(gone) >= 4  # worker, flow, DVC and the training at least
    for number in gone:
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    worker.wait()
    reached = newest(state)
    assert "No sign of life" in server.wait_for(first, "CRASHED")["message"]

    # The slot is free, what was done is there, and cancelling reaches the training.
    second, worker = server.begin("retrain/digits-nightly", changes=changes), start_worker(server)
    wait_for_checkpoint(state, worker, reached + 20)
    trainings = descendants(worker.pid)
    body = {"state": {"type": "CANCELLING"}}
    server.ask(f"/flow_runs/{second}/set_state", body)
    server.wait_for(second, "CANCELLED")
    told = " ".join(log["message"] for log in server.ask("/logs/filter", {"logs": {
        "flow_run_id": {"any_": [second]}}, "limit": 200}))  # fmt: skip
    assert f"going on from {state}/checkpoints/step-" in told
    assert int(re.findall(r"going on from \S*step-(\d+)", told)[0]) >= reached
    deadline = time.monotonic() + 60
    while alive(trainings) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not alive(trainings)
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait(60)


def read(process, said):
    line = process.stdout.readline()
    assert line, said
    return line


def start_worker(server):
    command = ("prefect", "worker", "start", "--pool", "monge", "--limit", "1")
    return server.project.start(*command, **server.api, PREFECT_WORKER_QUERY_SECONDS="2")


def newest(state):
    steps = [
        int(path.name[5:]) for path in state.glob("checkpoints/step-*") if path.name[5:].isdigit()
    ]
    return max(steps, default=0)


def wait_for_checkpoint(state, process, step):
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline:
        if newest(state) >= step:
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    raise AssertionError("no checkpoint in time")


def descendants(parent):
    """Process numbers of all that a process started, and that these started."""
    parents = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            parents[int(entry)] = int(fields[1])
    found = [parent]
    for number in found:
        found += [child for child, of in parents.items() if of == number]
    return found[1:]


def alive(numbers):
    return [n for n in numbers if Path(f"/proc/{n}").exists() and not is_waiter(n)]


def is_waiter(number):
    """Whether a process is the worker's own or has ended and is only to be asked for its code."""
    with suppress(OSError):
        command = Path(f"/proc/{number}/cmdline").read_text()
        return "train" not in command
    return True

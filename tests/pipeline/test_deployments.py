"""Protects: who owns what is deployed, and what becomes of runs whose server or machine goes."""

import base64
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from monge import files
from tests.pipeline.conftest import Project
from tests.pipeline.test_scheduled_chain import wait_for_server

pytestmark = pytest.mark.timeout(900)
DEPLOY = (sys.executable, "-m", "pipelines", "deploy")
PASSWORD = "monge:pa55word"
SILENT = "monge digits: silent runs have crashed"


class Server:
    """A real Prefect server that wants a password, and can be killed and started again."""

    def __init__(self, project: Project) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        home = str(project.folder.parent / "server")
        address = f"http://127.0.0.1:{self.port}/api"
        self.api = {"PREFECT_API_URL": address, "PREFECT_HOME": home, "TZ": "Europe/Paris"}
        self.api |= {"PREFECT_API_AUTH_STRING": PASSWORD}
        self.project = project
        self.start()

    def start(self):
        command = ("prefect", "server", "start", "--host", "127.0.0.1", "--port", self.port)
        quiet = {
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
            "PREFECT_SERVER_API_AUTH_STRING": PASSWORD,
        }
        self.process = self.project.start(*command, **self.api, **quiet)
        wait_for_server(self.port)

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def ask(self, path, body=None, method=None):
        """The server's answer to GET, or to POST of a body, also if its database was busy first."""
        word = base64.b64encode(PASSWORD.encode()).decode()
        request = urllib.request.Request(
            self.api["PREFECT_API_URL"] + path,
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json", "Authorization": f"Basic {word}"},
            method=method,
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    content = answer.read()
                return json.loads(content) if content else None
            except urllib.error.HTTPError as error:
                if error.code != 503 or time.monotonic() > deadline:
                    raise
            time.sleep(0.5)

    def deployment(self, name):
        return self.ask(f"/deployments/name/{name}")

    def begin(self, name, **parameters):
        """The number of a run that is begun now."""
        number = self.deployment(name)["id"]
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return self.ask(f"/deployments/{number}/create_flow_run", body)["id"]

    def automations(self):
        """The numbers of the automations that mark this project's silent runs."""
        found = self.ask("/automations/filter", {})
        return [each["id"] for each in found if each["name"] == SILENT]

    def forget_automations(self):
        for number in self.automations():
            self.ask(f"/automations/{number}", method="DELETE")

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
    assert nightly["parameters"] == {"hours": 20}
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

    # Paused by a person; by another a schedule changed, one taken out, and a whole row.
    number = nightly["id"]
    server.ask(f"/deployments/{number}/pause_deployment", {})
    table = place.folder / "pipelines/deployments.py"
    text = table.read_text("utf-8")
    before, _, rest = text.partition('    Row(\n        "generate",')
    changed = before + rest.partition("\n    ),\n")[2]
    changed = changed.replace('        cron="0 6 * * 0",\n', "")
    table.write_text(changed.replace('cron="0 3 * * *"', 'cron="30 4 * * *"'), "utf-8")
    said = place.run(*DEPLOY, **server.api).stdout
    table.write_text(text, "utf-8")
    assert (
        "digits-nightly: schedule 0 3 * * * (Europe/Paris) -> 30 4 * * * (Europe/Paris), paused"
        in said
    )
    assert "rejudge/digits-weekly: schedule 0 6 * * 0 (Europe/Paris) -> none" in said
    assert "studies/digits-studies: unchanged" in said
    assert "digits-generate: removed, it is not in the table any more" in said
    names = {each["name"] for each in server.ask("/deployments/filter", {})}
    assert {"digits-nightly", "digits-weekly", "faces-nightly", "faces-generate"} <= names
    assert "digits-generate" not in names
    nightly = server.deployment("retrain/digits-nightly")
    assert nightly["paused"]
    assert [each["schedule"]["cron"] for each in nightly["schedules"]] == ["30 4 * * *"]
    assert server.deployment("rejudge/digits-weekly")["schedules"] == []


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
    server.forget_automations()
    schedule = place.start(
        sys.executable, "-m", "pipelines.deployments", "--cron", "0 3 * * *", **server.api,
        # As after minutes of asking: Prefect's runner gives up when the server is away.
        PREFECT_CLIENT_MAX_RETRIES="0", PREFECT_RUNNER_POLL_FREQUENCY="1",
        MONGE_WEBHOOK_URL=receiver[0],
    )  # fmt: skip
    said = ""
    while "next: " not in said:
        said += read(schedule, said)
    assert len(server.automations()) == 1, "who only has a schedule is watched over as well"
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
    place, server, receiver, tiny, tmp_path
):
    """The worker clones the project for each run, and removes the clone when the run ends."""
    commit(place)
    state = tmp_path / "state"
    where = ("--git", f"file://{place.folder}", "--state", state)
    place.run(*DEPLOY, *where, **server.api, MONGE_SILENT_S="40")
    server.forget_automations()
    number = server.deployment("retrain/digits-nightly")["id"]
    server.ask(f"/deployments/{number}/resume_deployment", {})
    changes = [*tiny, "train.steps=4000"]

    # A worker's run and one by hand on a machine that goes, and two that wait for their turn.
    by_hand = place.start(*place.retrain_command(*changes), **server.api, MONGE_SILENT_S="40")
    first, worker = server.begin("retrain/digits-nightly", changes=changes), start_worker(server)
    wait_for_checkpoint(state, worker, 40)
    second, third = (server.begin("retrain/digits-nightly", changes=changes) for _ in range(2))
    (mine,) = running_by_hand(server)
    assert len(server.automations()) == 1, "made by the run that somebody began at a shell"
    gone = [each for process in (worker, by_hand) for each in group(process)]
    assert len(gone) >= 8  # worker or guard, flow, DVC and the training at least, of each
    kill(gone)
    worker.wait()
    by_hand.wait()
    worker = start_worker(server, MONGE_WEBHOOK_URL=receiver[0])
    while len(server.ask("/work_pools/monge/workers/filter", {})) < 2:
        time.sleep(0.5)
    assert waits(server, second), "there is a worker, and one training at a time"
    for run in (first, mine):
        assert "No sign of life" in server.wait_for(run, "CRASHED")["message"]
    server.forget_automations()

    # The slot is free. A run whose process alone is killed has crashed by its worker's word.
    server.wait_for(second, "RUNNING")
    assert waits(server, third)
    kill(descendants(worker.pid))
    server.wait_for(second, "CRASHED")
    reached = newest(state)

    wait_for_checkpoint(state, worker, reached + 20)
    hears_after_its_server_was_away(server, state, worker, third, reached)

    # A last one ends what all of them began.
    signal_all([worker.pid], signal.SIGCONT)
    last = server.begin("retrain/digits-nightly", changes=changes)
    server.wait_for(last, "COMPLETED")
    wait_until_gone(descendants(worker.pid))
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait(60)
    assert {(each["event"], each["run_id"]) for each in receiver[1]} == {
        ("crash", second), ("cancellation", third), ("promotion", last)
    }  # fmt: skip
    assert_one_whole_run(state, last)


def hears_after_its_server_was_away(server, state, worker, run, reached):
    """The server goes and comes, the worker is asleep, and the run itself hears that it is over."""
    trainings = descendants(worker.pid)
    asleep = [worker.pid, *trains(trainings)]
    signal_all(asleep, signal.SIGSTOP)
    before = newest(state)
    server.kill()
    server.start()
    signal_all(asleep[1:], signal.SIGCONT)
    server.ask(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    heard = server.wait_for(run, "CANCELLED")["message"]
    assert heard == "cancelled; what was done is kept, and the next run goes on"
    assert newest(state) > before, "what was done is in a checkpoint"
    told = " ".join(log["message"] for log in server.ask("/logs/filter", {"logs": {
        "flow_run_id": {"any_": [run]}}, "limit": 200}))  # fmt: skip
    assert f"going on from {state}/checkpoints/step-" in told
    assert int(re.findall(r"going on from \S*step-(\d+)", told)[0]) >= reached
    wait_until_gone(trainings)


def assert_one_whole_run(state, last):
    """One finished run of MLflow's with every figure once, one version, and no lock."""
    with sqlite3.connect(state / "mlflow.db") as database:
        assert database.execute("select status from runs").fetchall() == [("FINISHED",)]
        assert database.execute("select version from model_versions").fetchall() == [(1,)]
        twice = "select key, step from metrics group by key, step having count(*) > 1"
        assert database.execute(twice).fetchall() == []
        counts = "select count(*), max(step) from metrics group by key order by 1 desc limit 1"
        assert database.execute(counts).fetchall() == [(200, 4000)]
        tags = dict(database.execute("select key, value from tags where key like 'prefect.%'"))
    assert tags.pop("prefect.flow_run")
    assert tags == {
        "prefect.flow": "retrain", "prefect.flow_run_id": last,
        "prefect.deployment": "digits-nightly", "prefect.created_by": "not told",
    }  # fmt: skip
    locks = [*state.glob(".monge/**/*.lock"), *state.glob("checkpoints/**/*.lock")]
    assert locks
    for path in locks:
        held = files.lock(path, wait=False)
        assert held is not None, path
        os.close(held)


def read(process, said):
    line = process.stdout.readline()
    assert line, said
    return line


def start_worker(server, **environment):
    command = ("prefect", "worker", "start", "--pool", "monge", "--limit", "3")
    ours = server.api | {"PREFECT_WORKER_QUERY_SECONDS": "2"} | environment
    return server.project.start(*command, **ours)


def running_by_hand(server):
    """The runs at work that are of no deployment."""
    wanted = {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}
    found = server.ask("/flow_runs/filter", wanted)
    return [each["id"] for each in found if each["deployment_id"] is None]


def waits(server, run):
    return server.ask(f"/flow_runs/{run}")["state"]["type"] == "SCHEDULED"


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


def group(process):
    return [process.pid, *descendants(process.pid)]


def signal_all(numbers, which):
    for number in numbers:
        with suppress(ProcessLookupError):
            os.kill(number, which)


def kill(numbers):
    signal_all(numbers, signal.SIGKILL)


def trains(numbers):
    """Those of the processes that are a training, or wait for one."""
    found = []
    for number in numbers:
        with suppress(OSError):
            if "train" in Path(f"/proc/{number}/cmdline").read_text():
                found.append(number)
    return found


def wait_until_gone(numbers):
    deadline = time.monotonic() + 60
    while trains(numbers) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not trains(numbers)

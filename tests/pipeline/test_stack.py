"""Protects: one command has all servers running, again after every kill, and their data stay.

Its tests share one set of servers, and each goes on from where the one before has left it.
"""

import base64
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2 import sql

from pipelines import server
from pipelines.stack import passwords, postgres, status
from pipelines.stack.settings import Place
from tests.pipeline.conftest import ROOT, Project

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != "linux", reason="the servers' wheels are Linux's"),
]
PORTS = ("postgres", "s3", "master", "volume", "filer", "mlflow", "prefect", "worker", "service")
FIRST, SECOND = "the-first-password-1", "the-second-password-2"
HOOK_SECRET = "the-secret-of-a-receiver"


class Stack(Project):
    """A project and the commands for its servers."""

    def __init__(self, folder):
        super().__init__(folder, with_database=False)
        self.told: list[str] = []
        if not (folder / "studies").exists():  # one of the deployments tries them
            shutil.copytree(self.root() / "studies", folder / "studies")
        ports = free_ports(len(PORTS))
        self.ports = dict(zip(PORTS, ports, strict=True))

    @property
    def environment(self):
        ours = {f"MONGE_UP_{name.upper()}_PORT": str(port) for name, port in self.ports.items()}
        kept = {k: v for k, v in super().environment.items() if k != "MONGE_SERVERS"}
        return kept | ours | {"MONGE_UP_MODEL": "tiny"}

    def run(self, *command, check=True, **environment):
        done = super().run(*command, check=check, **environment)
        self.told.append(done.stdout)
        return done

    def command(self, name, *words, check=True, **environment):
        words = ("-m", "pipelines.stack", name, *words)
        return self.run(sys.executable, *words, check=check, **environment).stdout

    @property
    def state(self):
        return Place(self.folder).state

    def status(self):
        """What `make status JSON=1` prints, without a process for each look."""
        facts = status.gather(Place(self.folder))
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


def children(pid):
    """The processes that another one has started."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            if file.read_text().rpartition(")")[2].split()[1] == str(pid):
                found.append(int(file.parent.name))
        except OSError:
            continue
    return found


@contextmanager
def stopped(pid):
    """A server and its children that are there and do nothing, as on a machine that hangs."""
    os.kill(pid, signal.SIGSTOP)  # it can start no more of them
    family = [pid, *children(pid)]
    try:
        for each in family:
            os.kill(each, signal.SIGSTOP)
        yield
    finally:
        for each in reversed(family):
            os.kill(each, signal.SIGCONT)


def rows(stack, database, query=None):
    """What a query finds in a database of PostgreSQL's, or the text of every row of every table."""
    secret = passwords.load(stack.state).superuser
    with closing(psycopg2.connect(
        host="127.0.0.1", port=stack.ports["postgres"], user="postgres", password=secret,
        dbname=database,
    )) as connection, connection.cursor() as cursor:  # fmt: skip
        if query:
            cursor.execute(query)
            return cursor.fetchall()
        found = []
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (table,) in cursor.fetchall():
            whole = sql.SQL("SELECT each::text FROM {} AS each").format(sql.Identifier(table))
            cursor.execute(whole)
            found += [f"{table}: {row[0]}" for row in cursor.fetchall()]
        return found


def give_key(stack, key):
    """Have the running store take this key alone; at its next start it takes the right one."""
    file = stack.state / "store" / "s3.json"
    facts = json.loads(file.read_text())
    facts["identities"][0]["credentials"][0]["secretKey"] = key
    file.write_text(json.dumps(facts))
    os.kill(stack.pids()["store"], signal.SIGHUP)


@pytest.fixture(scope="module")
def receiver():
    """A program that MLflow's webhooks tell: its address, and the headers and bodies that came."""
    taken = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            taken.append((self.headers, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", taken
        server.shutdown()


def shown(name):
    """A function that docs/how-to/schedules.md shows."""
    page = (ROOT / "docs/how-to/schedules.md").read_text("utf-8")
    (block,) = [part for part in page.split("```")[1::2] if f"def {name}(" in part]
    names: dict[str, Any] = {}
    exec(block.removeprefix("python\n"), names)
    return names[name]


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


def test_one_command_has_all_servers_up_and_tells_no_password_to_who_lists_processes(stack):
    said = stack.command("up", MONGE_UP_DATABASE_PASSWORD=FIRST)
    for title in ("PostgreSQL", "SeaweedFS", "MLflow", "Prefect", "worker"):
        assert f"{title:<12}up" in said
    assert "waits for the first champion of tiny" in said
    assert "nightly: made" in said
    for name in (".monge/servers.env", ".monge/stack/secrets.json", ".dvc/config.local"):
        assert (stack.folder / name).stat().st_mode & 0o777 == 0o600
    secrets = json.loads((stack.folder / ".monge/stack/secrets.json").read_text())
    assert secrets["database"] == FIRST
    for pid in marked(stack):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
        assert not any(secret in words for secret in secrets.values()), words


def test_a_run_outlives_its_database_and_a_refused_key_and_its_figures_are_there_once(
    stack, tiny, receiver
):
    """PostgreSQL hangs in the middle of the training; from then on the store refuses the key."""
    shown("tell")(receiver[0], HOOK_SECRET, f"http://127.0.0.1:{stack.ports['mlflow']}")
    key, api = passwords.load(stack.state).store, f"http://127.0.0.1:{stack.ports['prefect']}/api"
    once = {"MONGE_RETRY_DELAYS_S": "1"}  # one more try of the promotion, which costs seconds
    run = stack.start(*stack.retrain_command(*tiny, "promote.wait_s=1"), **once)
    deadline = time.monotonic() + 240
    while not list(stack.folder.glob("checkpoints/**/step-*")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with stopped(stack.pids()["postgres"]):
        began = time.monotonic()
        assert server.answers(api)
        assert not server.works(api)
        facts = stack.status()
        assert {facts["servers"][name]["state"] for name in ("postgres", "prefect")} == {"silent"}
        give_key(stack, "of-somebody-else")
        time.sleep(max(0.0, began + 20 - time.monotonic()))
    said = run.communicate(timeout=300)[0]
    stack.told.append(said)
    assert run.returncode == 3
    reason = "the server cannot reach its own store of files (500): a wrong key"
    assert reason in said.rstrip().splitlines()[-1]
    assert f"servers of `make up`: MLflow http://127.0.0.1:{stack.ports['mlflow']}" in said
    assert "Traceback" not in said
    assert versions(stack) == []

    give_key(stack, key)
    back = stack.retrain().stdout
    for stage in ("prepare", "train", "export", "evaluate"):
        assert f"Stage '{stage}' didn't change, skipping" in back
    assert versions(stack) == ["tiny"]
    assert not list((stack.folder / ".monge/spool").iterdir())
    assert not (stack.folder / "mlflow.db").exists()
    runs = rows(stack, "mlflow", "SELECT status FROM runs")
    assert runs == [("FINISHED",)]
    steps = "SELECT key, step, count(*) FROM metrics GROUP BY run_uuid, key, step"
    counted = rows(stack, "mlflow", steps)
    assert [each for each in counted if each[2] != 1] == []
    estimates = [step for key, step, _ in counted if key == "wasserstein_estimate"]
    assert sorted(estimates) == list(range(20, 241, 20))


def test_its_champion_is_served_and_a_receiver_is_told_with_mlflow_s_signature(stack, receiver):
    stack.run("monge", "promote", "--force", "--reason", "tiny, and yet to be served")
    stack.run("dvc", "push", "--quiet")
    facts = stack.wait(lambda facts: facts["servers"]["service"]["state"] == "up")
    assert facts["champion"] == "tiny version 1"
    assert facts["well"]
    assert json.loads(stack.command("status", "--json"))["champion"] == facts["champion"]
    assert len(facts["next"]) > 0
    screen = stack.command("status").splitlines()
    assert max(map(len, screen)) <= 80
    assert len(screen) <= 24
    body = json.dumps({"n": 2, "seed": 1}).encode()
    url = f"http://127.0.0.1:{stack.ports['service']}/v1/samples"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200

    def champions():
        told = [json.loads(body) for _, body in receiver[1]]
        return [each for each in told if each["data"].get("alias") == "champion"]

    deadline = time.monotonic() + 60
    while not champions() and time.monotonic() < deadline:
        time.sleep(0.1)
    (told,) = champions()
    assert (told["entity"], told["action"]) == ("model_version_alias", "created")
    assert told["data"] == {"name": "tiny", "alias": "champion", "version": "1"}
    is_mlflow = shown("is_mlflow")
    for headers, body in receiver[1]:
        assert is_mlflow(HOOK_SECRET, headers, body)
        assert not is_mlflow("another", headers, body)
        assert not is_mlflow(HOOK_SECRET, headers, body + b" ")


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


def test_another_password_of_the_database_restarts_what_has_it_and_nothing_else(stack):
    before = stack.pids()
    said = stack.command("up", MONGE_UP_DATABASE_PASSWORD=SECOND)
    assert "made" not in said
    assert stack.status()["well"]
    after = stack.pids()
    changed = {name for name, pid in after.items() if pid != before[name]}
    assert changed == {"postgres", "mlflow", "prefect"}
    assert versions(stack) == ["tiny"]
    assert prefect(stack, "flow_runs/filter", {"limit": 1})
    # The supervisor has read the settings anew, and not written back what it began with.
    assert passwords.load(stack.state).database == SECOND
    supervisor = stack.status()["supervisor"]
    assert b"MONGE_UP_" not in Path(f"/proc/{supervisor}/environ").read_bytes()


def test_servers_that_are_killed_are_started_again_and_those_that_need_them_go_on(stack):
    """MLflow and Prefect stay, whose database and store are killed; a test below kills them too."""
    before, stay = stack.pids(), {"mlflow", "prefect"}
    for name in before.keys() - stay:
        os.kill(before[name], signal.SIGKILL)

    def back(facts):
        now = {name: each["pid"] for name, each in facts["servers"].items()}
        changed = {name for name, pid in now.items() if pid not in (before[name], None)}
        return facts["well"] and changed == now.keys() - stay

    facts = stack.wait(back)
    assert facts["servers"]["service"]["state"] == "up"
    assert versions(stack) == ["tiny"]
    assert prefect(stack, "flow_runs/filter", {"limit": 1})


def test_a_killed_supervisor_is_replaced_by_one_that_takes_the_servers_over(stack):
    before = stack.pids()
    os.kill(stack.status()["supervisor"], signal.SIGKILL)
    facts = stack.wait(lambda facts: facts["supervisor"] is None)
    assert not facts["well"]
    assert "made" not in stack.command("up")
    assert stack.pids() == before


def test_a_worker_that_hangs_is_not_said_to_be_up(stack):
    with stopped(stack.pids()["worker"]):
        facts = stack.status()
    assert facts["servers"]["worker"]["state"] == "silent"
    assert not facts["well"]
    assert stack.status()["well"]


def test_all_of_it_is_killed_with_its_supervisor_and_up_goes_on(stack):
    facts = stack.status()
    database = facts["servers"]["postgres"]["pid"]
    for pid in (facts["supervisor"], database, *children(database), *marked(stack)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    # As a power cut leaves them: a pid file whose number is another program's now.
    stale = {"pid": os.getpid(), "started": "before", "since_s": 0.0, "fingerprint": "x"}
    (stack.state / "run/store.json").write_text(json.dumps(stale))
    stack.command("up")
    stack.wait(lambda facts: facts["well"])
    assert versions(stack) == ["tiny"]
    listed = mlflow(stack, "webhooks")  # answered 500 where the key of their secrets had changed
    assert [each["name"] for each in listed["webhooks"]] == ["champion"]
    (stack.folder / ".dvc" / "cache").rename(stack.folder / "cache-before")
    shutil.rmtree(stack.folder / "models")
    stack.run("dvc", "pull", "--quiet", "models/generator.onnx")
    assert (stack.folder / "models" / "generator.onnx").exists()


def test_no_password_is_in_what_they_leave_but_in_files_that_their_owner_alone_reads(stack):
    secrets = [*vars(passwords.load(stack.state)).values(), FIRST, SECOND, HOOK_SECRET]
    login = f"monge:{passwords.load(stack.state).prefect}"
    secrets.append(base64.b64encode(login.encode()).decode())
    told = {"output": "\n".join(stack.told).encode()}
    for database in postgres.DATABASES:
        told[database] = "\n".join(rows(stack, database)).encode()
    kept, found = {"secrets.json", "servers.env", "config.local", "s3.json"}, b""
    for path in stack.folder.parent.rglob("*"):
        if not path.is_file() or path.is_relative_to(postgres.folder(stack.state)):
            continue
        if path.name in kept:
            assert path.stat().st_mode & 0o777 == 0o600
            found += path.read_bytes()
        else:
            told[str(path)] = path.read_bytes()
    leaks = [name for name, data in told.items() if any(s.encode() in data for s in secrets)]
    assert leaks == []
    # What was looked at, and that it is found where it is.
    assert all(secret.encode() in found for secret in vars(passwords.load(stack.state)).values())
    assert b"champion" in told["mlflow"]
    assert {str(stack.state / f"logs/{name}.log") for name in stack.pids()} <= told.keys()


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
    stack.command("up")
    assert versions(stack) == ["tiny"]

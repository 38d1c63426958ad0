"""Two replicas on a real Ray: one is killed under load, a signal ends all, nothing is left open."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from monge.registry import Registry
from monge.server.replicas.replica import HEADER
from monge.serving.sampler import Sampler
from tests.faults.processes import command, family, listening, runs
from tests.running import write

SECONDS = float(os.environ.get("MONGE_SOAK_S", "6"))
CLIENTS = 16
HASH = "Monge-Model-Hash"
QUEUE = 600


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """A project's registry with the one champion that is served."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            patch.delenv(name, raising=False)
        registry = Registry(root, "faces")
        first = registry.register(write(root / "one.onnx"), run_key="a", tags={})
        registry.set_alias("champion", first)
    return registry


@pytest.fixture(scope="module")
def replicas(serve, registry):
    """`monge serve --replicas 2`, once for this file: Ray takes a dozen seconds to start."""
    service = serve(
        "models:/faces@champion", "--replicas", 2, "--queue-images", QUEUE, "--poll-s", 0.5,
        MLFLOW_TRACKING_URI=f"sqlite:///{registry.root / 'mlflow.db'}",
    )  # fmt: skip
    yield service
    if service.process.poll() is None:
        service.process.send_signal(signal.SIGTERM)
        service.process.wait(90)


@pytest.fixture(scope="module")
def drawn(registry):
    """What each of two models draws alone, by the hash that an answer names."""
    paths = registry.root / "one.onnx", write(registry.root / "two.onnx", seed=1)
    samplers = [Sampler.load(path, "cpu", 1) for path in paths]
    return {sampler.model_hash: sampler for sampler in samplers}


class Client(threading.Thread):
    """Asks without a pause, asks again where it may, and compares every image."""

    def __init__(
        self,
        url: str,
        number: int,
        drawn: dict[str, Sampler],
        lock: threading.Lock,
        enough: threading.Event,
    ) -> None:
        super().__init__()
        self.url, self.drawn, self.lock, self.enough = url, drawn, lock, enough
        self.dice = random.Random(number)
        self.good = self.lost = 0
        self.answered: list[str] = []
        self.problems: list[str] = []

    def run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=60) as client:
            while not self.enough.is_set():
                try:
                    self.ask(client)
                except Exception as error:
                    self.problems.append(repr(error))
                    return

    def ask(self, client: httpx.Client) -> None:
        n, seed = self.dice.randint(1, 12), self.dice.randint(0, 50)
        while True:
            answer = client.post("/v1/samples", json={"n": n, "seed": seed, "format": "raw"})
            if answer.status_code != 503:
                break
            self.lost += 1
            assert answer.headers["content-type"] == "application/problem+json"
            assert "Ask again" in answer.json()["detail"]
            time.sleep(float(answer.headers["retry-after"]))
        assert answer.status_code == 200, answer.text
        with self.lock:  # of this process's interpreter there is only one
            expected = self.drawn[answer.headers[HASH]].sample(n, seed=seed)
        got = np.frombuffer(answer.content, np.uint8).reshape(expected.shape)
        assert np.array_equal(got, expected), f"a wrong image for seed {seed}"
        self.answered.append(answer.headers[HEADER])
        self.good += 1


def test_a_killed_replica_costs_its_own_requests_and_comes_back(replicas, drawn):
    enough, lock = threading.Event(), threading.Lock()
    clients = [Client(replicas.url, i, drawn, lock, enough) for i in range(CLIENTS)]
    for client in clients:
        client.start()
    time.sleep(SECONDS / 2)
    first = _both_answer(clients, [0] * CLIENTS)
    victim, other = _replicas(replicas.process.pid)
    names, killed = first, set[int]()
    while not lost_by(clients) and len(killed) < 10:  # until one had a request when it died
        os.kill(victim, signal.SIGKILL)
        killed.add(victim)
        names = _names_with_the_successors(replicas.process.pid, killed, clients, names)
        (victim,) = set(_replicas(replicas.process.pid)) - {other}
    time.sleep(SECONDS / 4)
    marks = [len(client.answered) for client in clients]
    time.sleep(SECONDS / 4)
    last = _both_answer(clients, marks)
    enough.set()
    for client in clients:
        client.join()
    assert [problem for client in clients for problem in client.problems] == []
    assert len(first) == 2
    assert other in _replicas(replicas.process.pid)
    assert killed.isdisjoint(_replicas(replicas.process.pid))
    assert len(last) == 2
    assert len(last & first) == 1
    assert sum(client.good for client in clients) > 100
    most = 2 * CLIENTS * len(killed)
    assert 1 <= lost_by(clients) <= most, "one request of a client each time, two in a bad moment"


def _both_answer(clients, marks):
    """The names that have answered since the marks: two soon, and on a busy machine in time."""
    names, until = set[str](), time.monotonic() + 60
    while len(names) < 2 and time.monotonic() < until:
        time.sleep(0.05)
        since = zip(clients, marks, strict=True)
        names = {name for client, mark in since for name in client.answered[mark:]}
    return names


def test_figures_say_which_replica_counted_them(replicas):
    seen, patience_s = set[str](), time.monotonic() + 60
    while len(seen) < 2 and time.monotonic() < patience_s:
        text = replicas.client.get("/metrics").text
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        named = {line.partition('replica="')[2].partition('"')[0] for line in lines}
        assert len(named) == 1
        seen |= named
    assert len(seen) == 2
    assert all(seen)


def test_beyond_its_bounds_a_replica_refuses_as_the_service_does(replicas):
    def ask(seed: int) -> httpx.Response:
        return httpx.post(
            f"{replicas.url}/v1/samples", json={"n": 512, "seed": seed, "format": "raw"}, timeout=60
        )

    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(ask, range(24)))
    assert {answer.status_code for answer in answers} == {200, 429}
    for answer in answers:
        assert HEADER in answer.headers, "the replica said it, and not Ray"
        if answer.status_code == 429:
            assert answer.headers["content-type"] == "application/problem+json"
            assert "images wait already" in answer.json()["detail"]
            assert int(answer.headers["retry-after"]) >= 1


def test_no_port_is_open_to_other_machines_without_the_token_of_this_ray(replicas):
    import grpc

    ports = listening(family(replicas.process.pid))
    assert replicas.port in ports["loopback"]
    assert len(ports["open"]) == len(_replicas(replicas.process.pid)), (
        "one for Ray's own calls each"
    )
    for port in ports["open"]:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/ray.serve.ASGIService/HandleRequest")
            with pytest.raises(grpc.RpcError) as refused:
                call(b"", timeout=10)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    answer = replicas.client.get("/v1/model", headers={"Host": "elsewhere.example"})
    assert answer.status_code == 421


def test_each_replica_follows_the_alias(replicas, registry, drawn):
    second = registry.register(registry.root / "two.onnx", run_key="b", tags={})
    registry.set_alias("champion", second)
    latest: dict[str, str] = {}
    patience_s = time.monotonic() + 60
    while list(latest.values()) != ["2", "2"] and time.monotonic() < patience_s:
        answer = replicas.post("/v1/samples", n=4, seed=9, format="raw")
        version = answer.headers["monge-model-version"]
        assert (version == "2") == (answer.headers[HASH] == second.model_hash)
        assert answer.content == drawn[answer.headers[HASH]].sample(4, seed=9).tobytes()
        assert version >= latest.get(answer.headers[HEADER], "1"), "it does not go back"
        latest[answer.headers[HEADER]] = version
    assert list(latest.values()) == ["2", "2"]


def test_a_signal_answers_what_was_accepted_and_leaves_nothing_behind(replicas, drawn):
    all_of_it, folder = family(replicas.process.pid), _folder(replicas.process.pid)
    assert len(all_of_it) > 8
    assert folder.stat().st_mode & 0o077 == 0, "only this user looks into Ray's state"
    answered_s: list[float] = []

    def ask_until_refused(seed: int) -> httpx.Response:
        expected = {name: one.sample(256, seed=seed).tobytes() for name, one in drawn.items()}
        while True:  # by new connections: a server that ends closes those that are idle
            body = {"n": 256, "seed": seed, "format": "raw"}
            answer = httpx.post(f"{replicas.url}/v1/samples", json=body, timeout=60)
            if answer.status_code == 503:
                return answer
            if answer.status_code != 429:
                assert answer.status_code == 200, answer.text
                assert answer.content == expected[answer.headers[HASH]]
                answered_s.append(time.monotonic())

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask_until_refused, seed) for seed in range(8)]
        patience_s = time.monotonic() + 60
        while not answered_s and time.monotonic() < patience_s:  # a busy machine is slow to begin
            time.sleep(0.05)
        time.sleep(0.5)
        signalled_s = time.monotonic()
        replicas.process.send_signal(signal.SIGTERM)
        refusals = [future.result() for future in asked]
    assert replicas.process.wait(60) == 0
    assert {r.json()["detail"].partition(":")[0] for r in refusals} == {"no replica is there"}
    assert min(answered_s) < signalled_s < max(answered_s)
    assert "stopped by SIGTERM; what was accepted has been answered" in replicas.said()
    assert "Traceback" not in replicas.said()
    patience_s = time.monotonic() + 10
    while (left := [pid for pid in all_of_it if runs(pid)]) and time.monotonic() < patience_s:
        time.sleep(0.1)
    assert left == []
    assert not folder.exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(replicas.url)


def test_gpus_that_are_not_there_are_refused_in_one_line(model, tmp_path):
    asked = [model, "--replicas", "2", "--replica-gpus", "64", "--provider", "cuda", "--port", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "monge", "serve", *map(str, asked)],
        capture_output=True, text=True, cwd=tmp_path, timeout=120,
    )  # fmt: skip
    assert done.returncode == 3
    refused = [line for line in done.stderr.splitlines() if " runs on " not in line]
    assert len(refused) == 1, done.stderr
    assert "2 replicas with 64 GPU each, and Ray finds" in refused[0]
    assert "Give fewer --replicas" in refused[0]


@pytest.fixture
def cluster(tmp_path_factory):
    """Another Ray, as somebody's cluster would be: its address and what a client needs to join."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # a socket's path is short, and pytest's is not
    access = {
        "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "5a" * 32, "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }  # fmt: skip
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (folder / "log").open("w") as log:
        head = subprocess.Popen(
            [
                Path(sys.executable).with_name("ray"), "start", "--head", "--block",
                f"--port={port}", f"--temp-dir={folder}/ray", "--num-cpus=2",
                "--include-dashboard=false", "--object-store-memory=100000000",
            ],
            env=os.environ | access, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    patience_s = time.monotonic() + 60
    while "Ray runtime started" not in (folder / "log").read_text():
        assert head.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < patience_s, (folder / "log").read_text()
        time.sleep(0.1)
    yield head, access | {"RAY_ADDRESS": f"127.0.0.1:{port}"}
    all_of_it = family(head.pid)
    head.terminate()
    head.wait(30)
    for pid in filter(runs, all_of_it):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder)


def test_a_cluster_takes_the_replicas_and_goes_on_without_them(cluster, serve, model, tmp_path):
    head, access = cluster
    token = tmp_path / "token"
    token.write_text("a token of more than 16 characters")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    service = serve(model, "--replicas", 2, "--token-file", token, "--port", port, **access)
    assert len(_replicas(head.pid)) == 2, "children of the cluster's, not of the command"
    assert _replicas(service.process.pid) == []
    assert service.post("/v1/samples", n=1).status_code == 401
    service.client.headers["Authorization"] = f"Bearer {token.read_text()}"
    answer = service.post("/v1/samples", n=3, seed=5, format="raw")
    assert answer.content == Sampler.load(model, "cpu", 1).sample(3, seed=5).tobytes()
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(60) == 0
    assert _replicas(head.pid) == []
    assert head.poll() is None
    with pytest.raises(httpx.ConnectError):
        service.post("/v1/samples", n=1)


def lost_by(clients: list[Client]) -> int:
    """Count the requests that a replica had accepted and did not answer."""
    return sum(client.lost for client in clients)


def _names_with_the_successors(
    root: int, killed: set[int], clients: list[Client], known: set[str]
) -> set[str]:
    """Wait until another replica answers in the place of the killed one; all names until then."""
    patience_s = time.monotonic() + 240
    while time.monotonic() < patience_s:
        time.sleep(0.2)
        names = {name for client in clients for name in client.answered}
        there = _replicas(root)
        if len(names) > len(known) and len(there) == 2 and killed.isdisjoint(there):
            return names
    raise AssertionError("no replica took the place of the killed one within four minutes")


def _replicas(root: int) -> list[int]:
    return [pid for pid in family(root) if b"ray::ServeReplica" in command(pid)]


def _folder(root: int) -> Path:
    """Where this Ray keeps its state: its server says so."""
    (server,) = [pid for pid in family(root) if b"gcs_server" in command(pid)]
    (session,) = [a for a in command(server).split(b"\0") if a.startswith(b"--session-dir=")]
    return Path(session.decode().partition("=")[2]).parents[1]

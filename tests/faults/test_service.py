"""The service under load: 64 clients, bad requests, a new champion in the middle, a signal."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from monge.registry import Registry
from monge.serving.sampler import Sampler
from tests.running import write

SECONDS = float(os.environ.get("MONGE_SOAK_S", "6"))
CLIENTS = 64
BAD = [
    {"n": 0}, {"n": 10**9}, {"seed": -1}, {"n": "x"}, {"format": "exe"}, {"truncation": 99},
]  # fmt: skip


class Client(threading.Thread):
    """Asks without a pause, and compares every image with what its model draws alone."""

    def __init__(
        self, url: str, number: int, models: dict[str, Sampler], enough: threading.Event
    ) -> None:
        super().__init__()
        self.url, self.models, self.enough = url, models, enough
        self.dice = random.Random(number)
        self.good = self.bad = self.busy = 0
        self.versions: list[str] = []
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
        if self.dice.random() < 0.15:
            answer = client.post("/v1/samples", json=self.dice.choice(BAD))
            assert answer.status_code == 422, answer.text
            assert answer.json()["detail"]
            self.bad += 1
            return
        n, seed = self.dice.randint(1, 12), self.dice.randint(0, 50)
        answer = client.post("/v1/samples", json={"n": n, "seed": seed, "format": "raw"})
        if answer.status_code == 429:
            assert int(answer.headers["retry-after"]) >= 1
            self.busy += 1
            return
        assert answer.status_code == 200, answer.text
        sampler = self.models[answer.headers["monge-model-hash"]]
        expected = sampler.sample(n, seed=seed)
        got = np.frombuffer(answer.content, np.uint8).reshape(expected.shape)
        assert np.array_equal(got, expected), f"a wrong image for seed {seed}"
        self.versions.append(answer.headers["monge-model-version"])
        self.good += 1


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A project's registry with one champion."""
    root = tmp_path / "project"
    root.mkdir()
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    registry = Registry(root, "faces")
    first = registry.register(write(tmp_path / "one.onnx"), run_key="a", tags={})
    registry.set_alias("champion", first)
    return registry


def test_a_new_champion_takes_over_under_load_and_nobody_gets_a_wrong_image(
    registry, serve, tmp_path
):
    paths = [tmp_path / "one.onnx", write(tmp_path / "two.onnx", seed=1)]
    models = {
        hashlib.sha256(path.read_bytes()).hexdigest(): Sampler.load(path, "cpu", 1)
        for path in paths
    }
    database = registry.root / "mlflow.db"
    service = serve(
        "models:/faces@champion", "--poll-s", 0.5, "--threads", 1, "--queue-images", 400,
        MLFLOW_TRACKING_URI=f"sqlite:///{database}", MLFLOW_DISABLE_TELEMETRY="true",
    )  # fmt: skip
    enough = threading.Event()
    clients = [Client(service.url, i, models, enough) for i in range(CLIENTS)]
    for client in clients:
        client.start()
    _wait(SECONDS / 2, service.process.pid)
    memory = _resident(service.process.pid)
    second = registry.register(paths[1], run_key="b", tags={})
    registry.set_alias("champion", second)
    patience_s = time.monotonic() + 120
    while "version 2 answers now" not in service.said() and time.monotonic() < patience_s:
        time.sleep(0.2)
    _wait(SECONDS / 2, service.process.pid)
    enough.set()
    for client in clients:
        client.join()
    assert [problem for client in clients for problem in client.problems] == []
    assert sum(client.good for client in clients) > 100
    assert sum(client.bad for client in clients) > 10
    versions = [version for client in clients for version in client.versions]
    assert {"1", "2"} == set(versions)
    for client in clients:  # once it has changed it stays
        assert client.versions == sorted(client.versions)
    assert "faces version 2 answers now, in place of version 1" in service.said()
    assert _resident(service.process.pid) < memory + 80_000
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(30) == 0
    assert "Traceback" not in service.said()


def test_a_broken_champion_is_refused_and_the_old_one_goes_on(registry, serve, tmp_path):
    database = registry.root / "mlflow.db"
    service = serve(
        "models:/faces@champion", "--poll-s", 0.3,
        MLFLOW_TRACKING_URI=f"sqlite:///{database}", MLFLOW_DISABLE_TELEMETRY="true",
    )  # fmt: skip
    second = registry.register(write(tmp_path / "two.onnx", seed=1), run_key="b", tags={})
    for stored in Path(registry.root).rglob("*.onnx"):
        if hashlib.sha256(stored.read_bytes()).hexdigest() == second.model_hash:
            stored.write_bytes(stored.read_bytes()[:-100])
    shutil.rmtree(registry.state / "models", ignore_errors=True)
    registry.set_alias("champion", second)
    for _ in range(100):
        if "is refused" in service.said():
            break
        time.sleep(0.1)
    assert "faces version 2 is refused, version 1 goes on" in service.said()
    answer = service.post("/v1/samples", n=3, format="raw")
    assert answer.status_code == 200
    assert answer.headers["monge-model-version"] == "1"
    assert "monge_model_refusals_total 1.0" in service.client.get("/metrics").text
    service.process.send_signal(signal.SIGTERM)  # or it would follow its alias to the last test
    assert service.process.wait(30) == 0


def _wait(seconds: float, pid: int) -> None:
    """Waits, and prints every minute what the service holds: the record of a long soak."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, 60.0))
        files = len(os.listdir(f"/proc/{pid}/fd"))
        print(f"{time.strftime('%H:%M:%S')}  {_resident(pid) / 1024:.1f} MiB  {files} files")


def _resident(pid: int) -> int:
    """KiB of memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])

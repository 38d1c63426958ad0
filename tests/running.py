"""A small real generator, and `monge serve` as a process on loopback."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from monge import nets
from monge.contract import Contract
from monge.encoder_contract import EncoderContract
from monge.export.encoder import write_encoder
from monge.export.onnx import write_generator
from monge.params import TrainParams

DIM, SHAPE = 16, (3, 16, 16)


def write(path: Path, seed: int = 0, features: int = 4) -> Path:
    """A convolutional generator with random weights."""
    train = TrainParams.model_validate(
        {"net": "dcgan", "latent_dim": DIM, "dcgan": {"features": features}}
    )
    torch.manual_seed(seed)
    generator = nets.build("generator", train, SHAPE).eval()
    with torch.no_grad():
        for weight in generator.parameters():
            weight.mul_(8.0)  # as they are when new, all images are the same grey
    contract = Contract(latent_dim=DIM, image_shape=(*SHAPE[1:], SHAPE[0]), classes=("a", "b"))
    write_generator(generator, contract, path)
    return path


CLASSES, SHARES = ("cat", "dog", "eel"), (0.5, 0.25, 0.25)


def write_conditional(path: Path) -> Path:
    """One that takes labels, which change its images."""
    train = TrainParams.model_validate({"net": "mlp", "latent_dim": DIM, "mlp": {"width": 32}})
    torch.manual_seed(3)
    generator = nets.build("generator", train, SHAPE, len(CLASSES)).eval()
    contract = Contract(
        latent_dim=DIM, image_shape=(*SHAPE[1:], SHAPE[0]), classes=CLASSES, label_shares=SHARES,
        parameters=train.model_dump(by_alias=True),
    )  # fmt: skip
    write_generator(generator, contract, path)
    return path


def add_encoder(model: Path, seed: int = 0) -> Path:
    """An encoder with random weights for a generator file, where export leaves it."""
    train = TrainParams.model_validate(
        {"net": "mlp", "objective": "wae-mmd", "latent_dim": DIM, "mlp": {"width": 32}}
    )
    torch.manual_seed(seed)
    contract = EncoderContract(
        latent_dim=DIM, image_shape=(*SHAPE[1:], SHAPE[0]),
        generator=hashlib.sha256(model.read_bytes()).hexdigest(),
        preparation={"colour": "rgb", "fit": "pad", "background": "#ff0000", "levels": "full"},
    )  # fmt: skip
    place = model.parent / "encoder" / "encoder.onnx"
    write_encoder(nets.build("encoder", train, SHAPE).eval(), contract, place, 1e-3)
    return place


class Service:
    """A running `monge serve`, and a client of it."""

    def __init__(self, process: subprocess.Popen[str], port: int, log: Path, model: Path) -> None:
        self.process, self.port, self.log, self.model = process, port, log, model
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.url, timeout=30)

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self.client.post(path, json=body)

    def said(self) -> str:
        return self.log.read_text()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("model") / "generator.onnx")


@pytest.fixture(scope="session")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_conditional(tmp_path_factory.mktemp("conditional") / "generator.onnx")


@pytest.fixture(scope="session")
def way_back(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator file with an encoder beside it."""
    model = write(tmp_path_factory.mktemp("way_back") / "generator.onnx", seed=5)
    add_encoder(model)
    return model


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Service]]:
    running: list[Service] = []

    def start(*arguments: object, ready: bool = True, **environment: str) -> Service:
        folder = tmp_path_factory.mktemp("service")
        log = folder / "log"
        with log.open("w") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "monge", "serve", "--port", "0", *map(str, arguments)],
                stdout=out, stderr=subprocess.STDOUT, text=True, cwd=folder,
                env=os.environ | {"XDG_CACHE_HOME": str(folder)} | environment,
            )  # fmt: skip
        service = Service(process, _port(process, log), log, Path(str(arguments[0])))
        running.append(service)
        if ready:
            _wait_ready(service)
        return service

    yield start
    for service in running:
        service.client.close()
        if service.process.poll() is None:
            service.process.send_signal(signal.SIGTERM)
            service.process.wait(30)


@pytest.fixture(scope="session")
def service(serve: Callable[..., Service], model: Path) -> Service:
    return serve(model)


def _port(process: subprocess.Popen[str], log: Path) -> int:
    while process.poll() is None:
        found = re.search(r"on http://\S+?:(\d+) ", log.read_text())
        if found:
            return int(found[1])
        _pause()
    raise AssertionError(log.read_text())


def _wait_ready(service: Service) -> None:
    for _ in range(600):
        try:
            if service.client.get("/v2/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        _pause()
    raise AssertionError(service.said())


def _pause() -> None:
    import time

    time.sleep(0.05)

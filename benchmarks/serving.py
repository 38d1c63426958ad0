"""Requests a second and latency of the service, beside what a user would write or start instead.

    python -m benchmarks.serving --mlflow small --rounds 4 --seconds 2 --out FILE.json

is the command of benchmarks/results/serving-cpu.json: seven minutes, on a machine that does nothing
else (`load` says whether it did). Contenders, each a process on loopback with the same generator,
asked for 4 images as raw bytes:

    monge    `monge serve`, with export.optimize_for: throughput
    plain    a FastAPI handler that calls ONNX Runtime on torch.onnx.export's file, without batching
    mlflow   `mlflow models serve` of that file, for the case that --mlflow names: floats as JSON
             are all that it answers, 70 kB an image of 32x32, so that larger ones take long

1, 8 and 64 clients ask without a pause over connections that stay open. Rounds are interleaved and
shuffled; figures are medians of the rounds, ratios medians of the rounds' own ratios. `bare` is the
sampler's own images a second in a loop, in a process that does nothing else; the service is held to
it with 4 clients that ask for many images at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.load import load
from benchmarks.sampling import CASES, files

CLIENTS = (1, 8, 64)
MANY = {"digits": 1024, "small": 256, "dcgan64": 64}  # images of a request, beside the sampler

PLAIN = """
import sys
import numpy as np, onnxruntime, uvicorn
from fastapi import FastAPI, Response
from pydantic import BaseModel

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
dim = session.get_inputs()[0].shape[1]
app = FastAPI()

class Wanted(BaseModel):
    n: int
    seed: int

@app.post("/v1/samples")
def samples(wanted: Wanted) -> Response:
    latents = np.random.default_rng(wanted.seed).normal(size=(wanted.n, dim)).astype(np.float32)
    values = session.run(None, {"latents": latents})[0]
    images = ((values + 1.0) * 127.5).round().clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
    return Response(images.tobytes(), media_type="application/octet-stream")

uvicorn.run(app, port=int(sys.argv[2]), log_level="error")
"""

MLFLOW = """
import sys
import mlflow.onnx, numpy, onnx
latents = {"latents": numpy.zeros((1, int(sys.argv[3])), numpy.float32)}
mlflow.onnx.save_model(
    onnx.load(sys.argv[1]), sys.argv[2], save_as_external_data=False,
    signature=mlflow.models.infer_signature(latents),
    onnx_execution_providers=["CPUExecutionProvider"],
)
"""

Round = tuple[list[float], float]  # seconds of each answer, and of all of them


@dataclass(frozen=True)
class Server:
    """A server: the command that starts it, when it answers, and what it is asked."""

    command: list[object]
    ready: str
    path: str
    bodies: list[bytes]
    port: int


@contextmanager
def running(command: list[object], port: int, path: str) -> Iterator[None]:
    """A server in a process group of its own, once it answers."""
    # As in an environment that has been activated: mlflow looks for uvicorn on the path.
    folders = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        [str(part) for part in command], start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"PATH": folders},
    )  # fmt: skip
    try:
        for _ in range(1200):
            if _answers(port, path):
                break
            if process.poll() is not None:
                raise RuntimeError(f"{command[:4]} ended with {process.returncode}")
            time.sleep(0.1)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
        while _answers(port, path):  # a child of mlflow's outlives it for a moment
            time.sleep(0.1)


def _answers(port: int, path: str) -> bool:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status in (200, 404, 405)
    except OSError:
        return False
    finally:
        connection.close()


def bare(path: Path, seconds: float) -> float:
    """Images a second of the sampler in a loop."""
    code = (
        "import sys, time; from monge.serving.sampler import Sampler; "
        "s = Sampler.load(sys.argv[1], 'cpu'); n = s.calibrate(); s.sample(n); "
        "b = time.perf_counter(); k = 0\n"
        "while time.perf_counter() - b < float(sys.argv[2]): s.sample(n); k += n\n"
        "print(k / (time.perf_counter() - b))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(seconds)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


def servers(name: str, n: int, paths: dict[str, Path], mlflow: bool) -> dict[str, Server]:
    """The contenders for one generator."""
    folder, standard = paths["standard"].parent, paths["standard"]
    plain = folder / "plain.py"
    plain.write_text(PLAIN, encoding="utf-8")
    asked = [{"n": n, "seed": seed} for seed in range(50)]
    ports = [free_port() for _ in range(3)]
    serve = [sys.executable, "-m", "monge", "serve", paths["throughput"], "--port", ports[0]]
    found = {
        "monge": Server(
            serve, "/v2/health/ready", "/v1/samples",
            [json.dumps({**body, "format": "raw"}).encode() for body in asked], ports[0],
        ),
        "plain": Server(
            [sys.executable, plain, standard, ports[1]], "/docs", "/v1/samples",
            [json.dumps(body).encode() for body in asked], ports[1],
        ),
    }  # fmt: skip
    if mlflow:
        saved, dim = folder / f"{name}-mlflow", CASES[name][0]["latent_dim"]
        save = [sys.executable, "-c", MLFLOW, str(standard), str(saved), str(dim)]
        subprocess.run(save, check=True, capture_output=True)
        values = json.dumps({"inputs": {"latents": [[0.1] * dim] * n}}).encode()
        start = [
            Path(sys.executable).with_name("mlflow"), "models", "serve", "-m", saved,
            "--env-manager", "local", "-p", ports[2],
        ]  # fmt: skip
        found["mlflow"] = Server(start, "/ping", "/invocations", [values], ports[2])
    return found


def measure(name: str, n: int, rounds: int, seconds: float, mlflow: bool) -> dict[str, Any]:
    """One generator behind each server, and alone."""
    with tempfile.TemporaryDirectory() as folder:
        _, paths = files(name, Path(folder))
        contenders = servers(name, n, paths, mlflow)
        taken: dict[str, dict[int, list[Round]]] = {
            server: {clients: [] for clients in CLIENTS} for server in contenders
        }
        alone: list[float] = []
        many: list[float] = []
        for turn in range(rounds):
            order = ["bare", *contenders]
            random.Random(turn).shuffle(order)
            for contender in order:
                if contender == "bare":
                    alone.append(bare(paths["throughput"], seconds))
                    continue
                server = contenders[contender]
                with running(server.command, server.port, server.ready):
                    time.sleep(1.0)
                    load(server.port, server.path, server.bodies, 8, 1.0)  # warm
                    for clients in CLIENTS:
                        got = load(server.port, server.path, server.bodies, clients, seconds)
                        taken[contender][clients].append(got)
                    if contender == "monge":
                        many.append(throughput(server, MANY[name], seconds))
    return {
        "case": name, "n": n,
        "bare_images_per_s": statistics.median(alone),
        "many": {
            "n": MANY[name], "clients": 4, "images_per_s": statistics.median(many),
            "share_of_bare": spread([got / one for got, one in zip(many, alone, strict=True)]),
        },
        "times_plain": {
            c: spread([
                rate(ours) / rate(plain)
                for ours, plain in zip(taken["monge"][c], taken["plain"][c], strict=True)
            ])
            for c in CLIENTS
        },
        "servers": {
            server: {clients: figures(got, n) for clients, got in by_clients.items()}
            for server, by_clients in taken.items()
        },
    }  # fmt: skip


def throughput(server: Server, n: int, seconds: float) -> float:
    """Images a second of requests for many."""
    bodies = [json.dumps({"n": n, "seed": s, "format": "raw"}).encode() for s in range(50)]
    return n * rate(load(server.port, server.path, bodies, 4, seconds))


def rate(taken: Round) -> float:
    """Answers a second."""
    return len(taken[0]) / taken[1]


def spread(ratios: list[float]) -> dict[str, float]:
    return {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}


def figures(rounds: list[Round], n: int) -> dict[str, float]:
    """Medians over the rounds."""

    def percentile(taken: list[float], share: float) -> float:
        return sorted(taken)[min(len(taken) - 1, int(share * len(taken)))]

    rates = [rate(taken) for taken in rounds]
    return {
        "requests_per_s": statistics.median(rates),
        "requests_per_s_least": min(rates),
        "requests_per_s_most": max(rates),
        "images_per_s": n * statistics.median(rates),
        "p50_ms": 1e3 * statistics.median(percentile(taken, 0.5) for taken, _ in rounds),
        "p99_ms": 1e3 * statistics.median(percentile(taken, 0.99) for taken, _ in rounds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--case", action="append", choices=sorted(CASES))
    parser.add_argument("-n", type=int, default=4, help="images of a request")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--mlflow", action="append", choices=sorted(CASES), default=[])
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    report: dict[str, Any] = {
        "conditions": {
            "cores": os.cpu_count(), "python": platform.python_version(),
            "rounds": chosen.rounds, "seconds": chosen.seconds, "load": os.getloadavg()[1],
        },
        "cases": [],
    }  # fmt: skip
    for name in chosen.case or ["digits", "small", "dcgan64"]:
        mlflow = name in chosen.mlflow
        result = measure(name, chosen.n, chosen.rounds, chosen.seconds, mlflow)
        report["cases"].append(result)
        tell(result)
    if chosen.out:
        chosen.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def tell(result: dict[str, Any]) -> None:
    name, many = result["case"], result["many"]
    for server, by_clients in result["servers"].items():
        for clients, f in by_clients.items():
            print(
                f"{name:8} {server:7} {clients:3} clients {f['requests_per_s']:8.1f} requests/s  "
                f"{f['images_per_s']:9.1f} images/s  p50 {f['p50_ms']:8.2f} ms  "
                f"p99 {f['p99_ms']:8.2f} ms"
            )
    for clients, times in result["times_plain"].items():
        print(
            f"{name:8} {clients:3} clients: {times['median']:.2f} times plain "
            f"({times['least']:.2f} to {times['most']:.2f})"
        )
    share = many["share_of_bare"]
    print(
        f"{name:8} {many['images_per_s']:.1f} images/s, {many['n']} a request: "
        f"{share['median']:.2f} ({share['least']:.2f} to {share['most']:.2f}) of the sampler's "
        f"{result['bare_images_per_s']:.1f} alone",
        flush=True,
    )


if __name__ == "__main__":
    main()

"""Requests a second and latency of the service, beside what a user would write or start instead.

    python -m benchmarks.serving [--case small ...] [--seconds 4] [--rounds 3] [--mlflow]

Contenders, each a process on loopback with the same generator, asked for `n` images as raw bytes:

    monge    `monge serve`, with export.optimize_for: throughput
    plain    a FastAPI handler that calls ONNX Runtime on torch.onnx.export's file, without batching
    mlflow   `mlflow models serve` of that file (with --mlflow; JSON is all that it answers)

1, 8 and 64 clients ask without a pause over connections that stay open; rounds are interleaved;
figures are medians. `bare` is the sampler's own images a second in a loop, in a process that does
nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
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
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.sampling import CASES, files

CLIENTS = (1, 8, 64)

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
import mlflow.onnx, onnx
mlflow.onnx.save_model(onnx.load(sys.argv[1]), sys.argv[2], save_as_external_data=False)
"""


@contextmanager
def running(command: list[object], port: int, path: str) -> Iterator[None]:
    """A server in a process group of its own, once it answers."""
    process = subprocess.Popen(
        [str(part) for part in command], start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
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
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


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


async def load(
    port: int, path: str, bodies: list[bytes], clients: int, seconds: float
) -> tuple[list[float], float]:
    """Ask without a pause: the seconds of each answer, and of all until the last one came."""
    start_s = time.perf_counter()
    end_s = start_s + seconds
    taken: list[float] = []

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        dice = random.Random(number)
        while time.perf_counter() < end_s:
            body = dice.choice(bodies)
            head = (
                f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            began_s = time.perf_counter()
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            if not answer.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(answer.decode())
            length = int(answer.lower().partition(b"content-length:")[2].split()[0])
            await reader.readexactly(length)
            taken.append(time.perf_counter() - began_s)
        writer.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    return taken, time.perf_counter() - start_s


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


def measure(
    name: str, n: int, rounds: int, seconds: float, mlflow: bool, folder: Path
) -> dict[str, Any]:
    """One generator behind each server."""
    _, paths = files(name, folder)
    dim = CASES[name][0]["latent_dim"]
    plain = folder / "plain.py"
    plain.write_text(PLAIN, encoding="utf-8")
    bodies = [json.dumps({"n": n, "seed": s, "format": "raw"}).encode() for s in range(50)]
    ports = {server: free_port() for server in ("monge", "plain", "mlflow")}
    serve = [sys.executable, "-m", "monge", "serve", paths["throughput"], "--port", ports["monge"]]
    servers: dict[str, tuple[list[object], str, str, list[bytes]]] = {
        "monge": (serve, "/v2/health/ready", "/v1/samples", bodies),
        "plain": (
            [sys.executable, plain, paths["standard"], ports["plain"]], "/docs", "/v1/samples",
            [json.dumps({"n": n, "seed": s}).encode() for s in range(50)],
        ),
    }  # fmt: skip
    if mlflow:
        saved = folder / f"{name}-mlflow"
        command = [sys.executable, "-c", MLFLOW, str(paths["standard"]), str(saved)]
        subprocess.run(command, check=True, capture_output=True)
        values = json.dumps({"inputs": {"latents": [[0.1] * dim] * n}}).encode()
        start = [
            Path(sys.executable).with_name("mlflow"), "models", "serve", "-m", saved,
            "--env-manager", "local", "-p", ports["mlflow"],
        ]  # fmt: skip
        servers["mlflow"] = (start, "/ping", "/invocations", [values])
    taken: dict[str, dict[int, list[tuple[list[float], float]]]] = {
        s: {c: [] for c in CLIENTS} for s in servers
    }
    for turn in range(rounds):
        order = list(servers)
        random.Random(turn).shuffle(order)
        for server in order:
            command_, ready, path, asked = servers[server]
            with running(command_, ports[server], ready):
                time.sleep(1.0)
                asyncio.run(load(ports[server], path, asked, 8, 1.0))  # warm
                for clients in CLIENTS:
                    got = asyncio.run(load(ports[server], path, asked, clients, seconds))
                    taken[server][clients].append(got)
    return {
        "case": name, "n": n, "bare_images_per_s": bare(paths["throughput"], seconds),
        "servers": {
            server: {clients: figures(got, n) for clients, got in by_clients.items()}
            for server, by_clients in taken.items()
        },
    }  # fmt: skip


def figures(rounds: list[tuple[list[float], float]], n: int) -> dict[str, float]:
    """Medians over the rounds."""

    def percentile(taken: list[float], share: float) -> float:
        return sorted(taken)[min(len(taken) - 1, int(share * len(taken)))]

    rates = [len(taken) / seconds for taken, seconds in rounds]
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
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--mlflow", action="store_true")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    report: dict[str, Any] = {
        "conditions": {
            "cores": os.cpu_count(), "python": platform.python_version(),
            "rounds": chosen.rounds, "seconds": chosen.seconds,
        },
        "cases": [],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen.case or ["digits", "small", "dcgan64"]:
            result = measure(
                name, chosen.n, chosen.rounds, chosen.seconds, chosen.mlflow, Path(folder)
            )
            report["cases"].append(result)
            print(f"{name:8} bare sampler {result['bare_images_per_s']:9.1f} images/s")
            for server, by_clients in result["servers"].items():
                for clients, f in by_clients.items():
                    print(
                        f"{name:8} {server:7} {clients:3} clients {f['requests_per_s']:8.1f} "
                        f"requests/s  {f['images_per_s']:9.1f} images/s  "
                        f"p50 {f['p50_ms']:8.1f} ms  p99 {f['p99_ms']:8.1f} ms",
                        flush=True,
                    )
    if chosen.out:
        chosen.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Measures what the pipeline costs around the work: Prefect's flow, DVC, MLflow.

    python -m benchmarks.costs [--times 5]

In a clone of this repository, with a tiny training done: the flow when nothing has changed, with
Prefect's embedded server and with one that runs already, and `dvc repro`. Then the default training
with tracking and without, in turn, at two lengths: the difference that does not grow with the steps
is what opening a run costs, the rest is what its figures cost, and both together are told as the
share of a training of one hour at this speed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULT = Path(__file__).parent / "results" / "costs-cpu.json"
BIN = Path(sys.executable).parent
TINY = ("train.steps=200", "train.mlp.width=16", "evaluate.images=200", "evaluate.repeats=2")
LENGTHS = (1000, 4000)
HOUR_S = 3600.0


class Clone:
    """A clone of this repository, and the commands that a person gives in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
        drop = ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "PYTHONDONTWRITEBYTECODE")
        kept = {key: value for key, value in os.environ.items() if key not in drop}
        own = {
            "PATH": f"{BIN}{os.pathsep}{kept['PATH']}", "PREFECT_HOME": str(folder / ".prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DVC_NO_ANALYTICS": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONPATH": str(folder / "src"),
        }  # fmt: skip
        self.environment = kept | own

    def seconds(self, *command: str, **environment: str) -> float:
        """Run a command; how long it took. Raises with its words when it fails."""
        began = time.monotonic()
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment | environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout[-2000:]}")
        return time.monotonic() - began

    def flow(self, **environment: str) -> float:
        """Time `make run` with the tiny training's parameters."""
        return self.seconds(sys.executable, "-m", "pipelines", *flags(TINY), **environment)

    def train(self, steps: int, tracking: str) -> float:
        """Time a training of `wgan-gp` on the digits at this length."""
        changes = ("train.objective=wgan-gp", f"train.steps={steps}")
        command = ("monge", "train", "--fresh", *flags(changes))
        return self.seconds(*command, MONGE_TRACKING=tracking)


def flags(changes: tuple[str, ...]) -> list[str]:
    """Write them as options of the command line."""
    return [part for change in changes for part in ("--set", change)]


@contextmanager
def server(clone: Clone) -> Iterator[str]:
    """Prefect's server on this machine; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [BIN / "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        cwd=clone.folder, env=clone.environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while not _answers(f"http://127.0.0.1:{port}/api/health"):
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/api"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2):
            return True
    except OSError:
        return False


def around(clone: Clone, times: int) -> dict[str, float]:
    """Seconds of what does nothing: medians."""
    clone.flow()
    found: dict[str, list[float]] = {"flow, embedded server": [], "flow, running server": []}
    found["dvc repro"] = []
    with server(clone) as address:
        clone.flow(PREFECT_API_URL=address)
        for _ in range(times):
            found["flow, embedded server"].append(clone.flow())
            found["flow, running server"].append(clone.flow(PREFECT_API_URL=address))
            found["dvc repro"].append(clone.seconds("dvc", "repro"))
    return {name: round(statistics.median(each), 2) for name, each in found.items()}


def tracking(clone: Clone, times: int) -> dict[str, float]:
    """Measure what a tracked training takes more, and the share of that in one hour."""
    more: dict[int, list[float]] = {steps: [] for steps in LENGTHS}
    plain: dict[int, list[float]] = {steps: [] for steps in LENGTHS}
    for _ in range(times):
        for steps in LENGTHS:
            plain[steps].append(clone.train(steps, "off"))
            more[steps].append(clone.train(steps, "on") - plain[steps][-1])
    short, long = LENGTHS
    extra = {steps: statistics.median(each) for steps, each in more.items()}
    base = {steps: statistics.median(each) for steps, each in plain.items()}
    a_step = (base[long] - base[short]) / (long - short)
    growing = max(0.0, (extra[long] - extra[short]) / (long - short))
    opening = extra[short] - growing * short
    return {
        "training of 4,000 steps, not tracked": round(base[long], 1),
        "more, tracked": round(extra[long], 2),
        "opening a run": round(opening, 2),
        "share of an hour": round((opening + growing * HOUR_S / a_step) / HOUR_S, 4),
    }


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clone = Clone(Path(folder) / "project")
        found = around(clone, asked.times) | tracking(clone, asked.times)
    for name, seconds in found.items():
        print(f"{name:40} {seconds}")
    told = {"cpu_count": os.cpu_count(), "times": asked.times, "found": found}
    asked.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

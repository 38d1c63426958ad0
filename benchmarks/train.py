"""The speed of the training beside what a user would write instead.

    python -m benchmarks.train [--case digits ...] [--rounds 5] [--seconds 4] [--out FILE.json]

Contenders, all with the same networks, objective, batch and device:

    tutorial   the critic's loss is back-propagated into the generator (fakes are not detached),
               images come from a DataLoader that decodes one file after the other with PIL
    textbook   the same with the fakes detached: Algorithm 1 as one would write it, eager
    resident   the textbook loop with the whole dataset on the device
    monge      what `monge train` runs

Rounds are interleaved in shuffled order in one process; figures are medians with the smallest and
largest. An image counts when the critic has seen it as real. The share of the matrix peak is the
iteration's floating-point operations (counted by torch on the textbook loop) over its time, against
a large matrix product measured here: in bf16 on a GPU, in float32 on a CPU. `busy` is the share of
monge's time in which the device computes (a GPU) or an operator of torch runs (a CPU), from a
profile of a second of steady training. Memory is the most that a process of its own takes for two
iterations: on a GPU what torch has allocated there, on a CPU the resident set (Linux).
"""

from __future__ import annotations

import argparse
import io
import json
import math
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.textbook import Textbook
from monge import objectives
from monge.data.batches import Batches
from monge.data.packed import Split
from monge.data.writer import PackedWriter
from monge.params import TrainParams

Step = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One thing to train: parameters, and the images' shape and file format."""

    train: dict[str, Any]
    shape: tuple[int, int, int]
    files: str
    images: int

    @property
    def params(self) -> TrainParams:
        return TrainParams.model_validate(self.train)


DIGITS = {"net": "mlp", "latent_dim": 64, "mlp": {"depth": 3, "width": 128}}
DCGAN = {"net": "dcgan", "latent_dim": 100, "dcgan": {"features": 64}}
TINY = {"net": "dcgan", "latent_dim": 8, "batch_size": 8, "dcgan": {"features": 4}}
RESNET = {"net": "resnet", "latent_dim": 128, "objective": "wgan-gp"}
CASES = {
    "resnet32": Case(RESNET | {"resnet": {"features": 32}}, (3, 32, 32), "JPEG", 512),
    "resnet64": Case(RESNET | {"resnet": {"features": 16}}, (3, 64, 64), "JPEG", 512),
    "digits": Case(DIGITS | {"objective": "wgan-gp"}, (1, 8, 8), "PNG", 1438),
    "digits-wgan": Case(DIGITS | {"objective": "wgan"}, (1, 8, 8), "PNG", 1438),
    "dcgan64-wgan": Case(DCGAN | {"objective": "wgan"}, (3, 64, 64), "JPEG", 512),
    "dcgan64-wgan-gp": Case(DCGAN | {"objective": "wgan-gp"}, (3, 64, 64), "JPEG", 512),
    "dcgan64-rpgan": Case(DCGAN | {"objective": "rpgan"}, (3, 64, 64), "JPEG", 512),
    "dcgan64-wgan-256": Case(
        DCGAN | {"objective": "wgan", "batch_size": 256}, (3, 64, 64), "JPEG", 1024
    ),
    "dcgan64-wgan-gp-256": Case(
        DCGAN | {"objective": "wgan-gp", "batch_size": 256}, (3, 64, 64), "JPEG", 1024
    ),
    "dcgan64-rpgan-256": Case(
        DCGAN | {"objective": "rpgan", "batch_size": 256}, (3, 64, 64), "JPEG", 1024
    ),
    **{
        f"tiny-{method}": Case(TINY | {"objective": method}, (3, 16, 16), "PNG", 32)
        for method in ("wgan", "wgan-gp", "rpgan")
    },
}


PROFILED_S = 1.0
MOST_PROFILED = 200
"""A profile keeps every kernel and operator of an iteration, some thousands, in memory."""


class Files(Dataset[Tensor]):
    """Image files decoded one by one with PIL, as tutorials do."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        with Image.open(self.paths[index]) as picture:
            pixels = np.asarray(picture, np.float32)
        if pixels.ndim == 2:
            pixels = pixels[:, :, None]
        return torch.from_numpy(pixels.transpose(2, 0, 1) / 127.5 - 1.0)


def ours(case: Case, device: torch.device, split: Split) -> Step:
    """One iteration as the training loop runs it."""
    from monge.training.machine.capture import launcher
    from monge.training.machine.precision import fast
    from monge.training.schedule import set_schedules
    from monge.training.state import TrainingState

    params = case.params
    how = objectives.Execution(params.accumulate, fast(params.precision, device))
    objective = objectives.build(params, how)
    state = TrainingState(params, objective, case.shape, device)
    reals = Batches(split, params, device).starting_at(0)
    iterate = launcher(params, objective, state)

    def iteration() -> None:
        set_schedules(state, objective.rates, params)
        iterate(reals)
        state.advance(params.batch_size)

    return iteration


def contenders(case: Case, device: torch.device, folder: Path) -> dict[str, Callable[[], Step]]:
    """The four loops; each, when made, is ready to run an iteration."""
    dice = np.random.default_rng(0)
    images = dice.integers(0, 256, (case.images, *case.shape), dtype=np.uint8)
    paths = []
    for i, image in enumerate(images):
        data = io.BytesIO()
        pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
        Image.fromarray(pixels).save(data, case.files)
        paths.append(folder / f"{i}.{case.files.lower()}")
        paths[-1].write_bytes(data.getvalue())

    def from_files() -> Iterator[Tensor]:
        loader = DataLoader(Files(paths), case.params.batch_size, shuffle=True, drop_last=True)
        while True:
            yield from loader

    def from_memory() -> Iterator[Tensor]:
        resident = (torch.from_numpy(images).float() / 127.5 - 1.0).to(device)
        while True:
            order = torch.randperm(len(resident), device=device)
            for part in torch.split(order, case.params.batch_size):
                if len(part) == case.params.batch_size:
                    yield resident[part]

    return {
        "tutorial": lambda: Textbook(case.params, case.shape, device, from_files(), detached=False),
        "textbook": lambda: Textbook(case.params, case.shape, device, from_files()),
        "resident": lambda: Textbook(case.params, case.shape, device, from_memory()),
        "monge": lambda: ours(case, device, _packed(images, folder / "prepared")),
    }


def _packed(images: NDArray[np.uint8], folder: Path) -> Split:
    with PackedWriter(folder, images.shape[1:]) as writer:
        writer.append("train", images)
        writer.append("validation", images[:1])
        return writer.finish().train


def seconds_an_iteration(step: Step, device: torch.device, at_least_s: float) -> float:
    """Mean over as many iterations as `at_least_s` holds, at least one."""
    _wait(device)
    began, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - began < at_least_s:
        step()
        count += 1
        if device.type == "cuda" and count % 20 == 0:
            _wait(device)
    _wait(device)
    return (time.perf_counter() - began) / count


def matrix_peak_flops(device: torch.device, dtype: torch.dtype, n: int) -> float:
    """Floating-point operations a second of a product of `n` rows, the best of several."""
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(8):
        _wait(device)
        began = time.perf_counter()
        a @ b
        _wait(device)
        times.append(time.perf_counter() - began)
    return 2.0 * n**3 / min(times)


def profiled_iterations(at_least_s: float, an_iteration_s: float) -> int:
    """As many as a second holds, or a turn where that is shorter; one to `MOST_PROFILED`."""
    whole = math.ceil(min(at_least_s, PROFILED_S) / an_iteration_s)
    return max(1, min(whole, MOST_PROFILED))


def busy_share(step: Step, device: torch.device, iterations: int) -> float:
    """The share of the time in which at least one kernel or operator runs."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as profile:
        _wait(device)
        began = time.perf_counter()
        for _ in range(iterations):
            step()
        _wait(device)
        whole_s = time.perf_counter() - began
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in profile.events() or []
        if event.device_type.name == device.type.upper()
    )
    busy_us, reached = 0.0, 0.0
    for start, end in spans:
        busy_us += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return busy_us / 1e6 / whole_s


def memory_bytes(name: str, contender: str, device: torch.device) -> int:
    """The most that two iterations of one contender take, in a process of its own."""
    arguments = ["--memory", contender, "--case", name, "--device", device.type]
    command = [sys.executable, "-m", "benchmarks.train", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
    return int(done.stdout.split()[-1])


def _run_alone(name: str, contender: str, device: torch.device) -> int:
    with tempfile.TemporaryDirectory() as folder:
        step = contenders(CASES[name], device, Path(folder))[contender]()
        for _ in range(2):
            step()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # Not getrusage: its peak outlives exec, so that a child begins with its parent's.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def measure(
    name: str,
    device: torch.device,
    rounds: int,
    at_least_s: float,
    threads: int,
    without: Container[str] = (),
    *,
    memory: bool = True,
    peak_rows: int = 0,
) -> dict[str, Any]:
    """All contenders of one case save those `without`, interleaved.

    `peak_rows` are those of the matrix product that is the peak; 0 are as many as fill the device.
    """
    case = CASES[name]
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        made = contenders(case, device, Path(folder))
        steps = {name: make() for name, make in made.items() if name not in without}
        with FlopCounterMode(display=False) as counter:
            steps["resident"]()
        for step in steps.values():
            step()
        times: dict[str, list[float]] = {contender: [] for contender in steps}
        for turn in range(rounds):
            order = list(steps)
            random.Random(turn).shuffle(order)
            for contender in order:
                times[contender].append(seconds_an_iteration(steps[contender], device, at_least_s))
        profiled = profiled_iterations(at_least_s, statistics.median(times["monge"]))
        busy = busy_share(steps["monge"], device, profiled)
    dtype, rows = (torch.bfloat16, 8192) if device.type == "cuda" else (torch.float32, 2048)
    peak = matrix_peak_flops(device, dtype, peak_rows or rows)
    images = objectives.build(case.params).batches * case.params.batch_size
    result: dict[str, Any] = {
        "case": name, "threads": threads, "matrix_peak_gflops": peak / 1e9, "busy": busy,
        "profiled_iterations": profiled, "contenders": {},
    }  # fmt: skip
    for contender, taken in times.items():
        middle = statistics.median(taken)
        result["contenders"][contender] = {
            "images_per_s": images / middle,
            "images_per_s_least": images / max(taken),
            "images_per_s_most": images / min(taken),
            "ms_an_iteration": middle * 1e3,
            "memory_bytes": memory_bytes(name, contender, device) if memory else None,
            "share_of_matrix_peak": counter.get_total_flops() / middle / peak,
            "monge_is_faster_by": statistics.median(
                other / mine for other, mine in zip(taken, times["monge"], strict=True)
            ),
        }
    return result


def conditions(device: torch.device) -> dict[str, Any]:
    """List what the figures depend on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    return {
        "device": device.type, "name": name, "torch": torch.__version__,
        "python": platform.python_version(), "cores": torch.get_num_threads(),
    }  # fmt: skip


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def tell(name: str, result: Mapping[str, Any]) -> None:
    """Print one case's figures."""
    print(f"{name:20} busy {result['busy']:.1%}")
    for contender, figures in result["contenders"].items():
        print(
            f"{name:20} {contender:10} {figures['images_per_s']:9.1f} images/s "
            f"({figures['images_per_s_least']:.1f} to {figures['images_per_s_most']:.1f})  "
            f"{figures['ms_an_iteration']:8.1f} ms  "
            f"{(figures['memory_bytes'] or math.nan) / 2**20:7,.0f} MiB  "
            f"{figures['share_of_matrix_peak']:6.1%} of peak  "
            f"monge x{figures['monge_is_faster_by']:.2f}",
            flush=True,
        )


def main() -> None:
    """Measure and print a table; write JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", action="append", choices=sorted(CASES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn, at least")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    device = torch.device(chosen.device)
    if chosen.memory:
        print(_run_alone(chosen.case[0], chosen.memory, device))
        return
    report: dict[str, Any] = {"conditions": conditions(device), "cases": []}
    print(json.dumps(report["conditions"]))
    cores = torch.get_num_threads()
    for name in chosen.case or ["digits", "dcgan64-wgan", "dcgan64-wgan-gp"]:
        threads = 1 if name.startswith("digits") else cores
        result = measure(name, device, chosen.rounds, chosen.seconds, threads)
        report["cases"].append(result)
        tell(name, result)
    if chosen.out:
        chosen.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

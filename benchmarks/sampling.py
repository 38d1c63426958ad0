"""Images a second of a generator: our file and sampler beside what a user would run instead.

    python -m benchmarks.sampling --compile --rounds 5 --out FILE.json
    python -m benchmarks.sampling --case digits --rounds 3        # a look at one of them

The first is the command of benchmarks/results/sampling-cpu.json: six minutes on two cores, of which
nothing else may use any. Contenders, drawing the same latents:

    eager       the PyTorch network, floats out
    compiled    the same through torch.compile, for each batch size (with --compile)
    standard    torch.onnx.export's file in ONNX Runtime with default options, and what turns its
                floats into images: numpy, in one expression
    floats      the same without that
    latency     monge's file (export.optimize_for: latency) through monge's sampler, uint8 out
    throughput  the same with export.optimize_for: throughput

Rounds are interleaved in shuffled order with a pause after each turn, since a runtime's threads may
go on spinning; figures are medians with the smallest and largest. A large matrix product has its
turn among them: the share of the matrix peak is the network's floating-point operations, counted on
the eager one, a second, over those of the product, both medians of the same rounds. Cold start is
from the start of the process `monge sample` to its end, with 64 images on disk, in one picture.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.plain import plain
from monge import nets
from monge.contract import Contract
from monge.export.graph import Form
from monge.export.onnx import write_generator
from monge.latents import latents
from monge.params import TrainParams
from monge.serving.sampler import Sampler
from monge.serving.shares import LOOKS

Draw = Callable[[Any], object]

CASES: dict[str, tuple[dict[str, Any], tuple[int, int, int]]] = {
    "digits": ({"net": "mlp", "latent_dim": 64, "mlp": {"depth": 3, "width": 128}}, (1, 8, 8)),
    "tiny": ({"net": "dcgan", "latent_dim": 8, "dcgan": {"features": 4}}, (3, 16, 16)),
    "small": ({"net": "dcgan", "latent_dim": 64, "dcgan": {"features": 16}}, (3, 32, 32)),
    "resnet32": ({"net": "resnet", "latent_dim": 128, "resnet": {"features": 64}}, (3, 32, 32)),
    "resnet64": ({"net": "resnet", "latent_dim": 128, "resnet": {"features": 32}}, (3, 64, 64)),
    "dcgan64": ({"net": "dcgan", "latent_dim": 100, "dcgan": {"features": 64}}, (3, 64, 64)),
}
BATCHES = (1, 16, 64, 256)
_PAUSE_S = 0.05
_TURN_S = 0.25
_PEAK = 1024  # rows and columns of the matrix product


def files(name: str, folder: Path) -> tuple[torch.nn.Module, dict[str, Path]]:
    """The network, and its file in each form."""
    train, shape = CASES[name]
    params = TrainParams.model_validate(train)
    torch.manual_seed(0)
    network = nets.build("generator", params, shape).eval()
    paths = {form: folder / f"{name}-{form}.onnx" for form in ("standard", "latency", "throughput")}
    contract = Contract(latent_dim=params.latent_dim, image_shape=(*shape[1:], shape[0]))
    write_generator(network, contract, paths["latency"])
    write_generator(network, contract, paths["throughput"], Form(optimize_for="throughput"))
    textbook = plain(nets.build("generator", params, shape).eval())
    textbook.load_state_dict(network.state_dict())
    _export(textbook, torch.zeros(2, params.latent_dim), paths["standard"])
    return textbook, paths


def has_newer_exporter() -> bool:
    """Tell whether torch's newer exporter has what it needs."""
    return importlib.util.find_spec("onnxscript") is not None


def _export(network: torch.nn.Module, example: torch.Tensor, path: Path) -> None:
    """Export as torch does, by its older exporter where the newer one's onnxscript is missing."""
    newer = has_newer_exporter()
    how: dict[str, Any] = (
        {"dynamic_shapes": ({0: torch.export.Dim.DYNAMIC},), "external_data": False}
        if newer
        else {"dynamic_axes": {"latents": {0: "n"}}}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (example,), path, dynamo=newer, input_names=["latents"], verbose=False, **how
        )


def contenders(network: torch.nn.Module, paths: dict[str, Path], compiled: bool) -> dict[str, Draw]:
    """List what draws images of latents [n, d]."""
    standard = onnxruntime.InferenceSession(paths["standard"], providers=["CPUExecutionProvider"])
    ours = {form: Sampler.load(paths[form], "cpu") for form in ("latency", "throughput")}

    def torch_draws(module: Callable[[torch.Tensor], torch.Tensor]) -> Draw:
        def draw(batch: Any) -> object:
            with torch.inference_mode():
                return module(torch.from_numpy(batch)).numpy()

        return draw

    draws: dict[str, Draw] = {
        "eager": torch_draws(network),
        "standard": lambda batch: to_bytes(standard.run(None, {"latents": batch})[0]),
        "floats": lambda batch: standard.run(None, {"latents": batch})[0],
        "latency": ours["latency"].run,
        "throughput": ours["throughput"].run,
    }
    if compiled:
        draws["compiled"] = torch_draws(torch.compile(network, dynamic=False))
    return draws


def to_bytes(values: Any) -> Any:
    """[n, C, H, W] in [-1, 1] to uint8 [n, H, W, C]."""
    return ((values + 1.0) * 127.5).round().clip(0, 255).astype("uint8").transpose(0, 2, 3, 1)


def seconds(draw: Draw, batch: Any) -> float:
    """The median of as many calls as a turn holds."""
    draw(batch)
    began_s, times = time.perf_counter(), list[float]()
    while not times or time.perf_counter() - began_s < _TURN_S:
        start_s = time.perf_counter()
        draw(batch)
        times.append(time.perf_counter() - start_s)
    time.sleep(_PAUSE_S)
    return statistics.median(times)


def measure(name: str, rounds: int, compiled: bool, folder: Path) -> dict[str, Any]:
    """One network at all batch sizes."""
    network, paths = files(name, folder)
    dim = CASES[name][0]["latent_dim"]
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros(1, dim))
    draws = contenders(network, paths, compiled)
    return {
        "case": name,
        "flops_an_image": counter.get_total_flops(),
        "file_bytes": {form: path.stat().st_size for form, path in paths.items()},
        "cold_start_s": {form: cold_start(paths[form]) for form in ("latency", "throughput")},
        "batches": {
            n: figures(n, counter.get_total_flops(), turns(draws, latents(0, 0, n, dim), rounds))
            for n in BATCHES
        },
    }


def turns(draws: dict[str, Draw], batch: Any, rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender in each round, and of a matrix product, under "peak"."""
    matrix = torch.randn(_PEAK, _PEAK)
    draws = draws | {"peak": lambda _: matrix @ matrix}
    times: dict[str, list[float]] = {contender: [] for contender in draws}
    for draw in draws.values():  # what is compiled, opened or decided for a batch size
        for _ in range(LOOKS + 1):
            draw(batch)
    for turn in range(rounds):
        order = list(draws)
        random.Random(turn).shuffle(order)
        for contender in order:
            times[contender].append(seconds(draws[contender], batch))
    return times


def figures(n: int, flops_an_image: int, times: dict[str, list[float]]) -> dict[str, Any]:
    """Sum up what the rounds at batch size `n` say."""
    products_s = times.pop("peak")
    peak = 2.0 * _PEAK**3 / statistics.median(products_s)
    result: dict[str, Any] = {
        "matrix_peak_gflops": peak / 1e9,
        "matrix_peak_gflops_least": 2e-9 * _PEAK**3 / max(products_s),
        "matrix_peak_gflops_most": 2e-9 * _PEAK**3 / min(products_s),
        "contenders": {},
    }
    for contender, taken in times.items():
        result["contenders"][contender] = {
            "images_per_s": n / statistics.median(taken),
            "images_per_s_least": n / max(taken),
            "images_per_s_most": n / min(taken),
            "share_of_matrix_peak": flops_an_image * n / statistics.median(taken) / peak,
        } | {
            f"times_{other}": statistics.median(
                theirs / ours for theirs, ours in zip(times[other], taken, strict=True)
            )
            for other in ("standard", "eager")
        }  # fmt: skip
    return result


def cold_start(path: Path) -> dict[str, float]:
    """Seconds of five processes `monge sample`; one before them warms the disk's cache."""
    picture = path.with_suffix(".png")
    command = [sys.executable, "-m", "monge", "sample", str(path), "-n", "64", "-o", str(picture)]
    taken = []
    for _ in range(6):
        picture.unlink(missing_ok=True)
        began_s = time.perf_counter()
        done = subprocess.run([*command, "--provider", "cpu"], capture_output=True, text=True)
        taken.append(time.perf_counter() - began_s)
        if done.returncode or not picture.is_file():
            raise RuntimeError(f"{' '.join(command)}: {done.stderr[-500:]}")
    taken = taken[1:]
    return {"median": statistics.median(taken), "least": min(taken), "most": max(taken)}


def processor() -> str:
    """Read the processor's own name, where the system says it."""
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    names = [line.split(":")[1].strip() for line in told.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()


def tell(result: dict[str, Any]) -> None:
    """Print one network's figures."""
    name = result["case"]
    print(f"{name:8} file bytes {result['file_bytes']}, cold start s {result['cold_start_s']}")
    for n, at in result["batches"].items():
        print(f"{name:8} batch {n:3} matrix peak {at['matrix_peak_gflops']:.0f} GFLOP/s")
        for contender, f in at["contenders"].items():
            print(
                f"{name:8} batch {n:3} {contender:10} {f['images_per_s']:9.1f} images/s "
                f"({f['images_per_s_least']:.1f} to {f['images_per_s_most']:.1f})  "
                f"{f['share_of_matrix_peak']:6.1%} of peak  "
                f"x{f['times_standard']:.2f} standard  x{f['times_eager']:.2f} eager",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--case", action="append", choices=sorted(CASES))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    report: dict[str, Any] = {
        "conditions": {
            "processor": processor(), "cores": torch.get_num_threads(), "torch": torch.__version__,
            "onnxruntime": onnxruntime.__version__, "python": platform.python_version(),
            "rounds": chosen.rounds,
        },
        "cases": [],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen.case or ["digits", "small", "dcgan64"]:
            result = measure(name, chosen.rounds, chosen.compile, Path(folder))
            report["cases"].append(result)
            tell(result)
    if chosen.out:
        chosen.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

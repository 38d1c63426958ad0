"""Everything that can only be known on a GPU, in one command of under eight minutes.

    python -m benchmarks.gpu --out FILE.json
    python -m benchmarks.gpu --tiny            # the same paths at tiny sizes, on any machine

It needs torch, onnx and onnxruntime, and none of the trackers and schedulers. In one JSON file and
one table:

    capture     weights after ten iterations that were recorded and replayed, against plain ones:
                the largest difference by the largest weight, for each method
    precision   a first iteration's weights moved, in bf16 and in tf32 against fp32: the cosine of
                the two moves, the least of the networks, for each method
    training    benchmarks.train's figures for DCGAN-64 with wgan, wgan-gp and rpgan at batch 64 and
                256: images a second beside the textbook's loop and the resident one, the share of
                the measured matrix peak, memory, and the share of the time that the device computes
    sampling    images a second of a DCGAN-64 generator at batch 64 and 256: our file through our
                sampler beside torch's export in ONNX Runtime with default options

Where ONNX Runtime finds no GPU, sampling is of the CPU; the table and the file say so.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor

from benchmarks import sampling, train
from monge import objectives
from monge.latents import latents
from monge.params import TrainParams
from monge.serving.sampler import Sampler
from monge.serving.session import PROVIDERS
from monge.training.machine.capture import launcher
from monge.training.machine.precision import fast
from monge.training.state import TrainingState

METHODS = ("wgan", "wgan-gp", "rpgan")
SHAPE = (3, 32, 32)
SMALL = {"net": "dcgan", "latent_dim": 32, "batch_size": 16, "dcgan": {"features": 16}}
ITERATIONS = 10


def reals(batch: int, device: torch.device) -> Iterator[tuple[Tensor, None]]:
    """Batches of noise."""
    generator = torch.Generator().manual_seed(5)
    while True:
        yield (torch.rand(batch, *SHAPE, generator=generator) * 2 - 1).to(device), None


def trained(section: dict[str, Any], iterations: int, device: torch.device) -> dict[str, Tensor]:
    """Every weight by its name, in float64 on the CPU."""
    params = TrainParams.model_validate(section)
    how = objectives.Execution(fast=fast(params.precision, device))
    objective = objectives.build(params, how)
    state = TrainingState(params, objective, SHAPE, device)
    iterate, images = launcher(params, objective, state), reals(params.batch_size, device)
    for _ in range(iterations):
        iterate(images)
        state.advance(params.batch_size)
    return {
        f"{role}.{name}": weight.detach().cpu().double()
        for role, network in state.networks.items()
        for name, weight in network.named_parameters()
    }


def capture(section: dict[str, Any], device: torch.device) -> float:
    """The largest difference between recorded and plain iterations, by the largest weight."""
    common = section | {"precision": "fp32"}
    plain = trained(common | {"capture": "off"}, ITERATIONS, device)
    recorded = trained(common | {"capture": "graph"}, ITERATIONS, device)
    apart = max(float((recorded[name] - plain[name]).abs().max()) for name in plain)
    return apart / max(float(weight.abs().max()) for weight in plain.values())


def precision(section: dict[str, Any], rounded: str, device: torch.device) -> float:
    """The least cosine, over the networks, of what an iteration moves in `rounded` and in fp32."""
    common = section | {"capture": "off"}
    start = trained(common | {"precision": "fp32"}, 0, device)
    moves = []
    for each in ("fp32", rounded):
        after = trained(common | {"precision": each}, 1, device)
        moves.append({name: (after[name] - start[name]).flatten() for name in start})
    cosines = []
    for role in {name.partition(".")[0] for name in start}:
        one, other = (
            torch.cat([values for name, values in move.items() if name.startswith(role)])
            for move in moves
        )
        cosines.append(float(torch.nn.functional.cosine_similarity(one, other, dim=0)))
    return min(cosines)


def seconds(draw: Callable[[], object], at_least_s: float) -> float:
    """The median of as many calls as the time holds, after three."""
    for _ in range(3):
        draw()
    times, began_s = list[float](), time.perf_counter()
    while not times or time.perf_counter() - began_s < at_least_s:
        start_s = time.perf_counter()
        draw()
        times.append(time.perf_counter() - start_s)
    return statistics.median(times)


def sampled(case: str, batches: tuple[int, ...], at_least_s: float) -> dict[str, Any]:
    """Our file and sampler beside torch's export, three interleaved rounds."""
    with tempfile.TemporaryDirectory() as place:
        _, paths = sampling.files(case, Path(place))
        ours = Sampler.load(paths["latency"], "auto")
        provider = PROVIDERS[ours.provider]
        exporter = "dynamo" if sampling.has_newer_exporter() else "torchscript"
        found: dict[str, Any] = {"provider": provider, "exporter": exporter, "batches": {}}
        standard = onnxruntime.InferenceSession(paths["standard"], providers=[provider])
        for n in batches:
            batch = latents(0, 0, n, sampling.CASES[case][0]["latent_dim"])

            def theirs(batch: Any = batch) -> object:
                return sampling.to_bytes(standard.run(None, {"latents": batch})[0])

            def mine(batch: Any = batch) -> object:
                return ours.run(batch)

            pairs = [(seconds(mine, at_least_s), seconds(theirs, at_least_s)) for _ in range(3)]
            found["batches"][n] = {
                "images_per_s": n / statistics.median(pair[0] for pair in pairs),
                "standard_images_per_s": n / statistics.median(pair[1] for pair in pairs),
                "times_standard": statistics.median(pair[1] / pair[0] for pair in pairs),
            }
    return found


def measure(device: torch.device, *, small: bool) -> dict[str, Any]:
    """All of it; a line is printed as soon as it is known."""
    report: dict[str, Any] = {"conditions": train.conditions(device) | {
        "onnxruntime": onnxruntime.__version__, "tiny": small,
    }}  # fmt: skip
    nets = train.TINY if small else SMALL
    if small:
        torch.set_num_threads(1)
    report["capture"], report["precision"] = {}, {}
    for method in METHODS:
        section = nets | {"objective": method}
        report["capture"][method] = apart = capture(section, device)
        cosines = {each: precision(section, each, device) for each in ("bf16", "tf32")}
        report["precision"][method] = cosines
        told = ", ".join(f"{each} cosine {value:.4f}" for each, value in cosines.items())
        print(f"{method:8} recorded against plain {apart:.2e}; against fp32: {told}", flush=True)
    at_least_s, report["training"] = (0.05 if small else 1.0), []
    rounds, threads = 1 if small else 3, torch.get_num_threads()
    large = [f"dcgan64-{method}{batch}" for method in METHODS for batch in ("", "-256")]
    for case in ["tiny-wgan-gp", "tiny-rpgan"] if small else large:
        result = train.measure(case, device, rounds, at_least_s, threads, without=["tutorial"])
        report["training"].append(result)
        train.tell(case, result)
    batches = (8,) if small else (64, 256)
    report["sampling"] = sampled("tiny" if small else "dcgan64", batches, at_least_s)
    for n, at in report["sampling"]["batches"].items():
        print(
            f"sampling batch {n} on {report['sampling']['provider']}: {at['images_per_s']:.0f} "
            f"images/s, {at['times_standard']:.2f} times the standard export", flush=True,
        )  # fmt: skip
    return report


def main() -> None:
    """Measure, print a table, and write JSON where asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    if not torch.cuda.is_available() and not chosen.tiny:
        sys.exit("no CUDA device here. --tiny runs the same paths at tiny sizes on the CPU.")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    began_s = time.monotonic()
    report = measure(device, small=chosen.tiny)
    report["seconds"] = time.monotonic() - began_s
    print(f"{report['seconds']:.0f} s in all")
    if chosen.out:
        chosen.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

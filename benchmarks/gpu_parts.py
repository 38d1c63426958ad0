"""Parts of benchmarks.gpu: weights after recorded and rounded iterations, and what a file draws."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor

from benchmarks import sampling
from monge import objectives
from monge.latents import latents
from monge.params import TrainParams
from monge.serving.sampler import Sampler
from monge.serving.session import PROVIDERS
from monge.training.machine.capture import launcher
from monge.training.machine.precision import fast
from monge.training.state import TrainingState

SHAPE = (3, 32, 32)
SMALL = {"net": "dcgan", "latent_dim": 32, "batch_size": 16, "dcgan": {"features": 16}}
ITERATIONS = 10

APART_AT_MOST = 0.05
"""Recorded iterations may end beside plain ones by so much of a network's way.

A recording that leaves one of ten iterations out, or does it twice, is 0.11 to 0.21 of the
generator's way beside it, with each method (on a CPU). A GPU's order of additions is 1e-7 of a
gradient, of which an optimizer makes a whole step only where a gradient is next to nothing.
"""

COSINE_AT_LEAST = {"bf16": 0.7, "tf32": 0.9}
"""Between an iteration's moves in this precision and in fp32, in every network.

A pass that is wrong moves another way: near 0. The first step of an optimizer is nearly the sign of
a gradient, so that rounding turns the small ones: bf16, of 8 bits, has 0.87 to 0.94 on a CPU, and
tf32, of 10, is nearer.
"""

Weights = Mapping[str, Tensor]


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


def capture(section: dict[str, Any], device: torch.device) -> dict[str, float]:
    """Tell how far recorded iterations end from plain ones, the most of the networks.

    `by_weight`: the largest difference by the largest weight; `by_way`: all differences of a
    network by the way that it has gone, as lengths.
    """
    common = section | {"precision": "fp32"}
    start = trained(common | {"capture": "off"}, 0, device)
    plain = trained(common | {"capture": "off"}, ITERATIONS, device)
    recorded = trained(common | {"capture": "graph"}, ITERATIONS, device)
    apart = max(float((recorded[name] - plain[name]).abs().max()) for name in plain)
    largest = max(float(weight.abs().max()) for weight in plain.values())
    return {"by_weight": apart / largest, "by_way": by_way(start, plain, recorded)}


def by_way(start: Weights, one: Weights, other: Weights) -> float:
    """The distance of two ends by the length of the way to the first, the most of the networks."""
    shares = []
    for role in sorted({name.partition(".")[0] for name in start}):
        apart, way = (
            torch.linalg.vector_norm(torch.cat([
                (to[name] - of[name]).flatten() for name in start if name.startswith(f"{role}.")
            ]))
            for of, to in ((one, other), (start, one))
        )  # fmt: skip
        shares.append(float(apart / way))
    # max() may pass over what is no number.
    return max(shares) if all(map(math.isfinite, shares)) else math.nan


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
            torch.cat([values for name, values in move.items() if name.startswith(f"{role}.")])
            for move in moves
        )
        cosines.append(float(torch.nn.functional.cosine_similarity(one, other, dim=0)))
    return min(cosines) if all(map(math.isfinite, cosines)) else math.nan


def check(section: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Both of a method: `capture`, and the cosine of each precision."""
    cosines = {each: precision(section, each, device) for each in COSINE_AT_LEAST}
    return {"capture": capture(section, device), "precision": cosines}


def violations(method: str, checked: Mapping[str, Any]) -> list[str]:
    """Sentences for what is beyond its bound, or no number."""
    found, apart = [], checked["capture"]["by_way"]
    if not apart <= APART_AT_MOST:
        found.append(
            f"{method}: recorded iterations end {apart:.2g} of the way beside plain ones; at most "
            f"{APART_AT_MOST}. Train with train.capture: off."
        )
    for each, least in COSINE_AT_LEAST.items():
        if not checked["precision"][each] >= least:
            found.append(
                f"{method}: {each} moves with a cosine of {checked['precision'][each]:.2g} to "
                f"fp32; at least {least}. Train with train.precision: fp32."
            )
    return found


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

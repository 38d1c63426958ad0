"""Everything that can only be known on a GPU, in one command of under eight minutes.

    python -m benchmarks.gpu --out FILE.json
    python -m benchmarks.gpu --tiny            # the same paths at tiny sizes, on any machine

It needs no tracker and no scheduler, and not the package installed, only these beside `src`:

    pip install torch onnx onnxruntime-gpu numpy pillow pydantic pyyaml
    PYTHONPATH=src python -m benchmarks.gpu --out FILE.json

In one JSON file and one table:

    capture     weights after ten iterations that were recorded and replayed, against plain ones:
                how far they end from each other, for each method
    precision   a first iteration's weights moved, in bf16 and in tf32 against fp32: the cosine of
                the two moves, the least of the networks, for each method
    training    benchmarks.train's figures for DCGAN-64 with wgan, wgan-gp and rpgan at batch 64 and
                256: images a second beside the textbook's loop and the resident one, the share of
                the measured matrix peak, memory, and the share of the time that the device computes
    sampling    images a second of a DCGAN-64 generator at batch 64 and 256: our file through our
                sampler beside torch's export in ONNX Runtime with default options

The first two have bounds (benchmarks/gpu_parts.py); what is beyond one is said, and the command
ends with exit code 1, as where a part fails; the file is written all the same. A part that takes
longer than what is left of `--deadline-s`, by the longest of its kind so far, is skipped, which is
said.
Where ONNX Runtime finds no GPU, sampling is of the CPU; the table and the file say so.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch

NEEDED = {
    "torch": "torch", "onnx": "onnx", "onnxruntime": "onnxruntime-gpu", "numpy": "numpy",
    "PIL": "pillow", "pydantic": "pydantic", "yaml": "pyyaml",
}  # fmt: skip
"""From what is imported to what is installed for it."""

METHODS = ("wgan", "wgan-gp", "rpgan")
DEADLINE_S = 480.0

Report = dict[str, Any]


class Part(NamedTuple):
    """A piece of work that is done whole or skipped, and writes into the report."""

    name: str
    kind: str
    do: Callable[[Report], None]


def missing() -> list[str]:
    """Name the packages that are needed and not installed."""
    return [package for name, package in NEEDED.items() if importlib.util.find_spec(name) is None]


def parts(device: torch.device, *, small: bool) -> list[Part]:
    """List the parts; those that tell the most by the second come first."""
    from benchmarks import gpu_parts, train

    nets = train.TINY if small else gpu_parts.SMALL
    cases = [f"{'tiny' if small else 'dcgan64'}-{method}" for method in METHODS]
    large = [] if small else [f"{case}-256" for case in cases]
    checks = [
        Part(f"check {method}", "check", _check(method, nets | {"objective": method}, device))
        for method in METHODS
    ]
    training = [Part(f"train {case}", "train", _train(case, device, small)) for case in cases]
    sampling = Part("sample", "sample", _sample(small))
    training_large = [Part(f"train {case}", "train", _train(case, device, small)) for case in large]
    return [*checks, *training, sampling, *training_large]


def _check(method: str, section: dict[str, Any], device: torch.device) -> Callable[[Report], None]:
    from benchmarks import gpu_parts

    def do(report: Report) -> None:
        checked = gpu_parts.check(section, device)
        report["capture"][method] = apart = checked["capture"]
        report["precision"][method] = checked["precision"]
        told = ", ".join(f"{each} {value:.4f}" for each, value in checked["precision"].items())
        print(
            f"{method:8} recorded beside plain: {apart['by_way']:.2e} of the way, "
            f"{apart['by_weight']:.2e} of a weight; cosine to fp32: {told}", flush=True,
        )  # fmt: skip
        for sentence in gpu_parts.violations(method, checked):
            report["violations"].append(sentence)
            print(f"BEYOND ITS BOUND: {sentence}", flush=True)

    return do


def _train(case: str, device: torch.device, small: bool) -> Callable[[Report], None]:
    import torch

    from benchmarks import train

    def do(report: Report) -> None:
        # Where the rest is tiny, a process for each contender's memory would take most of the time.
        how: dict[str, Any] = (
            {"peak_rows": 256, "memory": case == f"tiny-{METHODS[0]}"} if small else {}
        )
        rounds, at_least_s = (1, 0.05) if small else (3, 1.0)
        threads = torch.get_num_threads()
        result = train.measure(
            case, device, rounds, at_least_s, threads, without=["tutorial"], **how
        )
        report["training"].append(result)
        train.tell(case, result)

    return do


def _sample(small: bool) -> Callable[[Report], None]:
    from benchmarks import gpu_parts

    def do(report: Report) -> None:
        case, batches = ("tiny", (8,)) if small else ("dcgan64", (64, 256))
        report["sampling"] = found = gpu_parts.sampled(case, batches, 0.05 if small else 1.0)
        for n, at in found["batches"].items():
            print(
                f"sampling batch {n} on {found['provider']}: {at['images_per_s']:.0f} "
                f"images/s, {at['times_standard']:.2f} times the standard export", flush=True,
            )  # fmt: skip

    return do


def measure(
    report: Report,
    todo: list[Part],
    deadline_s: float,
    clock_s: Callable[[], float] = time.monotonic,
) -> None:
    """Do what fits before the deadline; a part that fails costs no other."""
    began_s, longest_s = clock_s(), dict[str, float]()
    for part in todo:
        start_s = clock_s()
        left_s = deadline_s - (start_s - began_s)
        if left_s <= longest_s.get(part.kind, 0.0):
            report["skipped"].append(part.name)
            print(f"{part.name}: skipped, {max(0.0, left_s):.0f} s are left", flush=True)
            continue
        try:
            part.do(report)
        except Exception as error:
            report["failed"][part.name] = repr(error)
            print(f"{part.name}: FAILED\n{traceback.format_exc()}", flush=True)
        taken_s = clock_s() - start_s
        report["parts_s"][part.name] = taken_s
        longest_s[part.kind] = max(taken_s, longest_s.get(part.kind, 0.0))
        print(f"{part.name}: {taken_s:.1f} s", flush=True)
    report["seconds"] = clock_s() - began_s


def begun(device: torch.device, *, small: bool) -> Report:
    """The report before the first part: the conditions."""
    import onnxruntime

    from benchmarks import train

    conditions = train.conditions(device)
    return {
        "conditions": conditions | {"onnxruntime": onnxruntime.__version__, "tiny": small},
        "capture": {}, "precision": {}, "training": [], "sampling": {},
        "violations": [], "failed": {}, "skipped": [], "parts_s": {},
    }  # fmt: skip


def main() -> None:
    """Measure, print a table, and write JSON where asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--deadline-s", type=float, default=DEADLINE_S)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    if not chosen.deadline_s >= 0.0:
        parser.error("--deadline-s: seconds, 0 or more")
    if lacking := missing():
        sys.exit(f"not installed: {', '.join(lacking)}. pip install {' '.join(lacking)}")
    import torch

    if not torch.cuda.is_available() and not chosen.tiny:
        sys.exit("no CUDA device here. --tiny runs the same paths at tiny sizes on the CPU.")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if chosen.tiny:
        torch.set_num_threads(1)
    report = begun(device, small=chosen.tiny)
    measure(report, parts(device, small=chosen.tiny), chosen.deadline_s)
    print(f"{report['seconds']:.0f} s in all")
    if chosen.out:
        chosen.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if report["violations"] or report["failed"]:
        beyond, failed = len(report["violations"]), len(report["failed"])
        sys.exit(f"{beyond} beyond their bounds, {failed} parts failed: see above")


if __name__ == "__main__":
    main()

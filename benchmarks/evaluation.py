"""Measures a judgement: seconds and memory of `judge` on digits and on photographs.

    python -m benchmarks.evaluation --case digits
    python -m benchmarks.evaluation --case cifar --archive cifar10.tar.xz

The judged images are training images with noise, which cost nothing to draw. Each case runs in a
process of its own, with an empty cache, so that the classifier's training is in its time.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

CASES = ("digits", "cifar")
RESULTS = Path(__file__).parent / "results"


def measure(case: str, archive: str) -> dict[str, object]:
    """Prepare, then judge 5,000 images; the judging alone is timed."""
    from monge.data.prepare import prepare
    from monge.evaluation.judge import judge
    from monge.params import EvaluateParams, PrepareParams

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        wanted = PrepareParams()
        if case == "cifar":
            wanted = PrepareParams(source="archive", path=archive, resolution=32, colour="rgb")
        dataset = prepare(wanted, root, root, root / "prepared")

        def sample(first: int, count: int) -> np.ndarray:
            chosen = np.arange(first, first + count) % len(dataset.train)
            images = dataset.train.take(chosen).transpose(0, 2, 3, 1)
            noise = np.random.default_rng(first).normal(0, 10, images.shape)
            return np.clip(images + noise, 0, 255).astype(np.uint8)

        before_kib = _peak_kib()
        began_s = time.monotonic()
        judgement = judge(sample, dataset, EvaluateParams(), root / "cache", generator_hash="x")
        first_s = time.monotonic() - began_s
        began_s = time.monotonic()
        judge(sample, dataset, EvaluateParams(), root / "cache", generator_hash="x")
        return {
            "case": case,
            "seconds_with_classifier_training": round(first_s, 1),
            "seconds": round(time.monotonic() - began_s, 1),
            "peak_mib": round(_peak_kib() / 1024),
            "peak_before_mib": round(before_kib / 1024),
            "figures": len(judgement.figures),
            "cpu_count": os.cpu_count(),
        }


def _peak_kib() -> int:
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", choices=CASES, default="digits")
    parser.add_argument("--archive", default=os.environ.get("MONGE_CIFAR_ARCHIVE", ""))
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        print(json.dumps(measure(args.case, args.archive)))
        return
    command = [sys.executable, "-m", "benchmarks.evaluation", "--inside", *sys.argv[1:]]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    result = json.loads(found.splitlines()[-1])
    (RESULTS / f"evaluation-{args.case}-cpu.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

"""Times a run's parts: training, and everything around it.

    python benchmarks/train_run.py [--case digits ...] [--steps 2000] [--runs 3] [--out FILE.json]

Each run is `monge train` in a process of its own on images made here: imports, checkpoints to disk,
figures, grids and looks at the quality at their default intervals, tracking switched off (it has a
thread of its own). The clock is read around each room that the loop calls; what is left is
training. `start` is from the start of the process to the first iteration; `end` from the last one
to the end of the process's work, which includes the writing of the last checkpoint.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOMS = {
    "journal": ("monge.training.watch.journal", "Journal", ("record",)),
    "guards": ("monge.training.watch.guards", "Guards", ("watch", "check_finite")),
    "quality": ("monge.training.watch.quality", "Quality", ("look",)),
    "checkpoints": ("monge.training.checkpoints.writer", "CheckpointWriter", ("due", "save")),
}


def timed(spent: dict[str, float], room: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, its seconds added to the room's."""

    @functools.wraps(method)
    def wrapper(*arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return method(*arguments, **named)
        finally:
            spent[room] += time.perf_counter() - began

    return wrapper


def run_once(case_name: str, steps: int, folder: Path, began_s: float) -> dict[str, float]:
    """Train once in this process; seconds a room."""
    import importlib

    import numpy as np
    from train import CASES  # type: ignore[import-not-found]  # the script beside this one

    from monge.data.packed import PackedDataset
    from monge.data.writer import PackedWriter
    from monge.params import TrainParams
    from monge.training import loop
    from monge.training.context import Training
    from monge.training.machine import capture

    case = CASES[case_name]
    made_from = time.time()
    dice = np.random.default_rng(0)
    with PackedWriter(folder / "prepared", case.shape) as writer:
        images = dice.integers(0, 256, (case.images, *case.shape), dtype=np.uint8)
        writer.append("train", images)
        writer.append("validation", images[: max(64, case.images // 4)])
        writer.finish()
    made_s = time.time() - made_from  # no part of a training
    spent = dict.fromkeys(ROOMS, 0.0)
    for room, (module, name, methods) in ROOMS.items():
        owner = getattr(importlib.import_module(module), name)
        for method in methods:
            setattr(owner, method, timed(spent, room, getattr(owner, method)))
    marks: list[float] = []
    plain = capture._Plain.__call__

    def marked(self: Any, reals: Any) -> Any:
        marks.append(time.time())
        readings = plain(self, reals)
        marks.append(time.time())
        return readings

    capture._Plain.__call__ = marked  # type: ignore[method-assign]
    train = TrainParams.model_validate(case.train | {"steps": steps, "guards": LENIENT})
    dataset = PackedDataset.open(folder / "prepared")
    loop.train(Training(train, dataset, folder / "run"))
    ended_s = time.time()
    loop_s = marks[-1] - marks[0]
    end_s = ended_s - marks[-1]
    return {
        **spent, "start": marks[0] - began_s - made_s, "end": end_s,
        "whole": ended_s - began_s - made_s, "loop": loop_s,
    }  # fmt: skip


LENIENT = {
    f"on_{trouble}": "warn" for trouble in ("dead_critic", "frozen_generator", "collapse")
}  # the images are noise: nothing is learnt


def main() -> None:
    """Run each case in fresh processes; print medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", action="append")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", type=float, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        with tempfile.TemporaryDirectory() as folder:
            spent = run_once(chosen.case[0], chosen.steps, Path(folder), chosen.child)
        print(json.dumps(spent))
        return
    results = []
    for case in chosen.case or ["digits"]:
        runs = [_in_a_child(case, chosen.steps) for _ in range(chosen.runs)]
        middle = {room: statistics.median(run[room] for run in runs) for room in runs[0]}
        around = sum(middle[room] for room in ROOMS)
        result = {
            "case": case, "steps": chosen.steps, "runs": chosen.runs, "cores": os.cpu_count(),
            "seconds": middle, "around_share_of_loop": around / middle["loop"],
            "not_training_share_of_run": 1 - (middle["loop"] - around) / middle["whole"],
        }  # fmt: skip
        results.append(result)
        print(
            f"{case}: {middle['whole']:.1f} s for {chosen.steps} iterations; start "
            f"{middle['start']:.1f} s, end {middle['end']:.2f} s; of the loop's time: "
            + ", ".join(f"{room} {middle[room] / middle['loop']:.2%}" for room in ROOMS)
            + f", together {result['around_share_of_loop']:.2%}",
            flush=True,
        )
    if chosen.out:
        chosen.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _in_a_child(case: str, steps: int) -> dict[str, float]:
    arguments = ["--case", case, "--steps", str(steps), "--child", str(time.time())]
    done = subprocess.run(
        [sys.executable, __file__, *arguments], capture_output=True, text=True, check=True
    )
    spent: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return spent


if __name__ == "__main__":
    main()

"""Every claim of the papers, tried side by side: a task for each study and seed.

    python -m pipelines.studies [NAME ...] [--quick] [--seeds 3] [--workers 2] [--runner dask]

What this very code has found before is not tried again, so that a broken run is taken up by the
same command. The workers are threads, each with a process of its own at work, or those of a cluster
that shares the folder. This file is not beside the other flows: Prefect looks for what a flow
imports in the flow's folder first, and there `studies` would be this one.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import Field

from monge.errors import MongeError
from pipelines import by_hand, child, hooks, runners
from pipelines.turn import STOPPED
from pipelines.watch import Hours, looked_after
from studies import catalogue, record
from studies.study import Scale

OUT = "studies-out"


@task(task_run_name="{name}, seed {seed}", cache_policy=NO_CACHE)
def try_claim(name: str, seed: int, scale: Scale, out: str) -> dict[str, Any]:
    """One run of a study in a process of its own; what it found. Raises RuntimeError."""
    if child.stopping:
        raise RuntimeError(STOPPED)
    folder = Path(out)
    found = record.earlier(name, scale, seed, folder)
    if found is not None:
        return found
    size = [f"--{scale}"] if scale != "default" else []
    command = [sys.executable, "-m", "studies", name, *size]
    command += ["--seed", str(seed), "--out", out, "--track"]
    ended = child.run(command, get_run_logger().info, OMP_NUM_THREADS="1")
    found = record.earlier(name, scale, seed, folder)
    if ended.code or found is None:
        reason = ended.tail[-1] if ended.tail else "no word of why"
        raise RuntimeError(f"{name}, seed {seed}, ended with exit code {ended.code}: {reason}")
    return found


@flow(name="studies", task_runner=runners.runner("threads", 2), **hooks.ENDS)
def studies(
    names: Annotated[
        list[str] | None,
        Field(description="Which; empty: all.", examples=[["wgan/parallel_lines"]]),
    ] = None,
    scale: Annotated[
        Scale, Field(description="quick takes seconds each, default minutes, full a GPU.")
    ] = "default",
    seeds: Annotated[int, Field(ge=1, description="So many runs of each, from seed 0.")] = 1,
    out: Annotated[str, Field(description="The folder for pictures and numbers.")] = OUT,
    hours: Hours = None,
) -> Any:
    """Try the studies that are named, or all; how many runs did not find that the claim holds."""
    return looked_after(hours, lambda: _tried(names, scale, seeds, out))


def _tried(names: list[str] | None, scale: Scale, seeds: int, out: str) -> int:
    chosen = [catalogue.found(name) for name in names or catalogue.NAMES]
    runs = [(name, seed) for name in chosen for seed in range(seeds)]
    futures = [try_claim.submit(name, seed, scale, out) for name, seed in runs]
    found = [future.result() for future in futures]
    rows = [_row(one) for one in found]
    create_table_artifact(rows, key="studies", description=f"{scale} size, in {out}")
    log = get_run_logger()
    for one in found:
        log.info("%s, seed %d: the claim %s", one["study"], one["seed"], one["verdict"])
    return sum(one["verdict"] != "holds" for one in found)


def _row(found: dict[str, Any]) -> dict[str, object]:
    told = catalogue.told(found["study"])
    return {
        "study": found["study"], "seed": found["seed"], "verdict": found["verdict"],
        "claim": told.claim, "source": told.source, "seconds": found["seconds"],
    }  # fmt: skip


def _count(typed: str) -> int:
    if not typed.isdecimal() or not int(typed):
        raise argparse.ArgumentTypeError(f"{typed}: how many, 1 at least")
    return int(typed)


def main(arguments: list[str] | None = None) -> int:
    """Run the flow from a shell; the exit code is 4 where a run could not be ended."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.studies", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="none: all")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="the smallest size that shows each")
    size.add_argument("--full", action="store_true", help="the papers' sizes, for a GPU")
    parser.add_argument("--seeds", type=_count, default=1, help="so many seeds of each, from 0")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runner", choices=runners.KINDS, default="threads")
    parser.add_argument("--cluster", default="", metavar="ADDRESS", help="of Dask or Ray")
    parser.add_argument("--out", default=OUT)
    asked = parser.parse_args(arguments)
    scale: Scale = "quick" if asked.quick else "full" if asked.full else "default"
    signal.signal(signal.SIGINT, child.stop)
    try:
        names = [catalogue.found(name) for name in asked.names]
        runner = runners.runner(asked.runner, asked.workers, asked.cluster)
    except MongeError as error:
        print(f"studies: {error}", file=sys.stderr)
        return error.exit_code
    at_work = studies.with_options(task_runner=runner)
    with by_hand.begun():
        state: Any = at_work(names, scale, asked.seeds, asked.out, return_state=True)
    return 0 if state.is_completed() else 130 if child.stopping else 4

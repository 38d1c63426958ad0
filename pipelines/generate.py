"""Bulk generation: the shards of a folder, mapped over workers.

    python -m pipelines.generate MODEL FOLDER -n 1000000 [--workers 2] [--format parquet]

A shard that is there is not made again, so that a broken run is taken up by the same command. The
workers are threads; `generate.with_options(task_runner=DaskTaskRunner(...))` or Ray's maps the same
tasks over a cluster that shares the folder.
"""

from __future__ import annotations

import argparse
import functools
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Failed
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import unmapped
from pydantic import Field

from monge.labels import named
from monge.params import load
from monge.serving import bulk
from monge.serving.sampler import Sampler
from pipelines import by_hand, child, hooks, settings
from pipelines.turn import STOPPED
from pipelines.watch import Hours, looked_after

CHAMPION = "champion"


def _goes_on(_task: Any, _run: Any, _state: State[Any]) -> bool:
    return not child.stopping


@task(
    task_run_name="shard {shard}", retries=2, retry_delay_seconds=5, retry_condition_fn=_goes_on,
    cache_policy=NO_CACHE,
)  # fmt: skip
def make_shard(shard: int, model: str, folder: str, plan: dict[str, object], threads: int) -> Any:
    """One shard; whether it was made. Takes paths and numbers only, so that it can travel."""
    if child.stopping:
        return Failed(message=STOPPED)
    whole = bulk.Plan(**plan)  # type: ignore[arg-type]
    return bulk.write_shard(_sampler(model, threads), Path(folder), whole, shard)


@functools.cache
def _sampler(model: str, threads: int) -> Sampler:
    """Open a model once in a process; drawing from several threads is what it can."""
    return Sampler.load(model, threads=threads)


def _threads(workers: int) -> Any:
    return ThreadPoolTaskRunner(max_workers=workers)


AtLeastOne = Annotated[int, Field(ge=1)]


@flow(name="generate", flow_run_name="{folder}", task_runner=_threads(2), **hooks.ENDS)
def generate(
    model: str = CHAMPION,
    folder: str = "generated",
    n: AtLeastOne = 10_000,
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0,
    shard_size: AtLeastOne = 10_000,
    format: bulk.Format = "webdataset",
    threads: Annotated[int, Field(ge=0)] = 0,
    label: str | None = None,
    hours: Hours = None,
) -> Any:
    """Images 0 .. n − 1 of a seed into a folder; how many shards were made now.

    Args:
        model: A .onnx file, an address such as models:/NAME@champion, or `champion` for that of
            the name in params.yaml.
        folder: Where the shards go. A shard that is there is not made again.
        n: Images in all.
        seed: The same seed gives the same images.
        shard_size: Images of a shard.
        format: What a shard is, webdataset or parquet.
        threads: Those of each worker; 0 for all cores.
        label: A class of a conditional generator, by name or number.
    """
    return looked_after(
        hours,
        lambda: _generate(
            _address(model), str(Path(folder).absolute()), n, seed, shard_size, format, threads,
            label,
        ),
    )  # fmt: skip


def _address(model: str) -> str:
    """The address of a model; that of the project's champion by the name in params.yaml."""
    if model != CHAMPION:
        return model
    return f"models:/{load(Path(settings.FILE)).promote.name}@champion"


def _generate(
    model: str, folder: str, n: int, seed: int, shard_size: int, format: bulk.Format, threads: int,
    label: str | None,
) -> int:  # fmt: skip
    log = get_run_logger()
    sampler = _sampler(model, threads)
    shares, classes = sampler.contract.label_shares, sampler.contract.classes
    plan = bulk.Plan(
        n=n, seed=seed, shard_size=shard_size, format=format, model_hash=sampler.model_hash,
        label=None if label is None else named(label, shares, classes),
    )  # fmt: skip
    bulk.begin(Path(folder), plan)
    left = bulk.missing(Path(folder), plan)
    log.info("%d of %d shards are there", plan.shards - len(left), plan.shards)
    futures = make_shard.map(
        left, unmapped(model), unmapped(folder), unmapped(asdict(plan)), unmapped(threads)
    )
    made: int = sum(future.result() for future in futures)
    log.info("%d images in %s", plan.n, folder)
    return made


def main() -> int:
    """Run the flow from a shell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="a .onnx file, or models:/NAME@champion")
    parser.add_argument("folder")
    parser.add_argument("-n", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shard-size", type=int, default=10_000)
    parser.add_argument("--format", choices=("webdataset", "parquet"), default="webdataset")
    parser.add_argument("--label", help="a class of a conditional generator, by name or number")
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    at_work = generate.with_options(task_runner=_threads(chosen.workers))
    with by_hand.begun():
        state: Any = at_work(
            chosen.model, chosen.folder, chosen.n, chosen.seed, chosen.shard_size, chosen.format,
            label=chosen.label, return_state=True,
        )  # fmt: skip
    if not state.is_completed():
        print(f"generate: {state.message}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

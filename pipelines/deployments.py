"""Lists what a Prefect server can be given to run, a row each, and keeps one machine's schedule.

    python -m pipelines deploy                          # every row, for workers: deploy.py
    python -m pipelines.deployments --cron "0 3 * * *"  # `make schedule`: retrains, and stays

The server is the one at PREFECT_API_URL, or the one that `make prefect` runs on this machine.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monge.errors import InputError
from monge.products import home
from pipelines import SERVERS, place, timetable
from pipelines.project import owner
from pipelines.server import answers

LOCAL_API = "http://127.0.0.1:4200/api"
NAME = "scheduled"


@dataclass(frozen=True)
class Row:
    """One deployment: a flow, when it runs, and with which parameters.

    `flow` is a file below the checkout and the flow's name in it. The flow's own signature says
    what each parameter means; Prefect's page makes its form of that. Rows that `train` wait for
    their turn in a queue that lets as many run as there are devices. Each has `hours`, so that none
    keeps the others waiting for ever; who needs longer says so in the form, or here.
    """

    name: str
    flow: str
    description: str
    cron: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    trains: bool = False


TABLE = (
    Row(
        "nightly",
        "pipelines/retrain.py:retrain",
        "The whole chain, from the images to a promoted generator. Stages that are not stale take "
        "no time; a training that was killed goes on from its checkpoint.",
        cron="0 3 * * *",
        parameters={"hours": 20.0},
        tags=("train",),
        trains=True,
    ),
    Row(
        "hourly",
        "pipelines/new_data.py:new_data",
        "Looks for new images, and trains on them when there are enough or they are others than "
        "those of the champion.",
        cron="0 * * * *",
        parameters={"hours": 20.0},
        tags=("data", "train"),
        trains=True,
    ),
    Row(
        "weekly",
        "pipelines/rejudge.py:rejudge",
        "Judges the champion's file anew on the held-out images as they are now, beside the "
        "figures that it was promoted with. Changes nothing in the registry.",
        cron="0 6 * * 0",
        parameters={"hours": 6.0},
        tags=("judge",),
    ),
    Row(
        "generate",
        "pipelines/generate.py:generate",
        "Draws any number of images into a folder of shards. A shard that is there is not made "
        "again.",
        parameters={"hours": 24.0},
        tags=("generate",),
    ),
    Row(
        "sweep",
        "pipelines/sweep/flow.py:sweep",
        "Tries parameters side by side, each in a folder of its own, and compares what comes out. "
        "A name that was begun goes on.",
        parameters={"hours": 72.0},
        tags=("train", "sweep"),
        trains=True,
    ),
    Row(
        "studies",
        "pipelines/studies/flow.py:studies",
        "Tries the papers' claims with this project's own code: a picture, numbers and a verdict "
        "each.",
        parameters={"hours": 24.0},
        tags=("studies",),
    ),
)


def main() -> int:
    """Serve the flow `retrain` until stopped, one run at a time."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.deployments", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    when = parser.add_mutually_exclusive_group(required=True)
    when.add_argument("--cron", help="five fields, as in cron: minute hour day month weekday")
    when.add_argument("--interval-s", type=float, help="seconds from one start to the next")
    parser.add_argument("--product", default="", metavar="NAME", help="that of products/NAME")
    parser.add_argument(
        "--timezone", default="", metavar="ZONE", help="such as Europe/Paris; else this machine's"
    )
    chosen = parser.parse_args()
    if SERVERS:
        print(f"schedule: {SERVERS}", flush=True)
    # Before Prefect is imported: it reads its address then.
    api = os.environ.setdefault("PREFECT_API_URL", LOCAL_API)
    try:
        found = (
            timetable.by_interval(chosen.interval_s, chosen.timezone)
            if chosen.cron is None
            else timetable.by_cron(chosen.cron, chosen.timezone)
        )
        whose = owner(Path.cwd(), chosen.product)
        if not answers(api):
            print(
                f"schedule: no Prefect server at {api}. Start one with `make prefect`, or set "
                "PREFECT_API_URL.",
                file=sys.stderr,
            )
            return 3
        if chosen.product:
            place.enter(chosen.product)
            sys.path.insert(0, str(home(Path.cwd())))  # as the runs find this package
        from pipelines.serving import serve

        return serve(whose, found, NAME, TABLE[0].tags, TABLE[0].description)
    except InputError as error:
        print(f"schedule: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

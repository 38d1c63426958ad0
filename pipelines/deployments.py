"""Retrain on a schedule: this process stays, and Prefect's server tells it when.

    python -m pipelines.deployments --cron "0 3 * * *"

The server is the one at PREFECT_API_URL, or the one that `make prefect` runs on this machine.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from monge.errors import InputError
from monge.products import home
from pipelines import place
from pipelines.server import answers

LOCAL_API = "http://127.0.0.1:4200/api"
NAME = "scheduled"


def main() -> int:
    """Serve the flow `retrain` until stopped, one run at a time."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.deployments", description=__doc__)
    when = parser.add_mutually_exclusive_group(required=True)
    when.add_argument("--cron", help="five fields, as in cron: minute hour day month weekday")
    when.add_argument("--interval-s", type=float, help="seconds from one start to the next")
    parser.add_argument("--product", default="", metavar="NAME", help="that of products/NAME")
    chosen = parser.parse_args()
    # Before Prefect is imported: it reads its address then.
    api = os.environ.setdefault("PREFECT_API_URL", LOCAL_API)
    if not answers(api):
        print(
            f"schedule: no Prefect server at {api}. Start one with `make prefect`, or set "
            "PREFECT_API_URL.",
            file=sys.stderr,
        )
        return 3
    try:
        name = _placed(chosen.product)
    except InputError as error:
        print(f"schedule: {error}", file=sys.stderr)
        return 2
    from pipelines.retrain import retrain

    retrain.serve(name=name, cron=chosen.cron, interval=chosen.interval_s, limit=1)
    return 0


def _placed(product: str) -> str:
    """Go to where the runs work; the deployment's name. Raises InputError."""
    if product:
        place.enter(product)
        sys.path.insert(0, str(home(Path.cwd())))  # as the runs find this package
    return product or NAME


if __name__ == "__main__":
    sys.exit(main())

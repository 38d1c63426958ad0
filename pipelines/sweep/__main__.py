"""Sweeps over parameters: begin one, go on with it, look at it, take the best.

    python -m pipelines.sweep NAME --vary train.wgan-gp.learning_rate=1e-4..3e-3:log [--vary ...]
    python -m pipelines.sweep NAME             # what it found, and going on with it
    python -m pipelines.sweep NAME --take      # the best trial's parameters and training

docs/how-to/sweeps.md says more.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from monge.errors import InputError, MongeError
from pipelines import child, place, runners, settings
from pipelines.sweep import comparison, plan, trial


def main(arguments: list[str] | None = None) -> int:
    """Run a sweep, or take from it; the exit code."""
    asked = _parser().parse_args(arguments)
    try:
        if asked.product:
            place.enter(asked.product)
        return _take(asked) if asked.take is not None else _run(asked)
    except MongeError as error:
        print(f"sweep: {error}", file=sys.stderr)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.sweep", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("name", help="the sweep's: a folder in sweeps/")
    parser.add_argument("--vary", action="append", default=[], metavar="KEY=VALUES",
                        help="section.key=value,value or section.key=low..high[:log]")  # fmt: skip
    parser.add_argument("--search", choices=plan.SEARCHES, default="learned",
                        help="grid, random, or learned from the trials before")  # fmt: skip
    parser.add_argument("--trials", type=int, help=f"how many; {plan.TRIALS}, or the whole grid")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE",
                        help="of all trials alike")  # fmt: skip
    parser.add_argument("--figure", default="", help="decides; that of the gate's first condition")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-prune", action="store_true", help="train even what is far behind")
    parser.add_argument("--workers", type=int, default=2, help="trials at a time")
    parser.add_argument("--runner", choices=runners.KINDS, default="threads")
    parser.add_argument("--cluster", default="", metavar="ADDRESS", help="of Dask or Ray")
    parser.add_argument("--product", default="", metavar="NAME", help="that of products/NAME")
    parser.add_argument("--take", nargs="?", const="best", metavar="TRIAL",
                        help="write a trial's parameters into params.yaml and run the chain; the "
                        "best where none is named")  # fmt: skip
    return parser


def _run(asked: argparse.Namespace) -> int:
    runner = runners.runner(asked.runner, asked.workers, asked.cluster)
    from pipelines import by_hand
    from pipelines.sweep.flow import begin, rows, sweep

    given: dict[str, Any] = {
        "vary": asked.vary, "search": asked.search, "trials": asked.trials, "changes": asked.set,
        "figure": asked.figure, "seed": asked.seed, "prune": not asked.no_prune,
    }  # fmt: skip
    where = begin(Path.cwd(), asked.name, **given)  # what is wrong is said before a server starts
    signal.signal(signal.SIGINT, child.stop)
    at_work = sweep.with_options(task_runner=runner)
    with by_hand.begun():
        state: Any = at_work(asked.name, workers=asked.workers, return_state=True)
    print(_told(where, rows(where)))
    if not state.is_completed():
        print(f"sweep: {state.message}", file=sys.stderr)
        return 130 if child.stopping else 4
    return 0


def _told(where: Path, rows: list[comparison.Row]) -> str:
    """The table as a person reads it, the best first, and what to do next."""
    from pipelines.sweep.flow import direction

    fixed = plan.read(where)
    sign = 1.0 if direction(fixed.figure) == "minimize" else -1.0
    worst = float("inf")
    ordered = sorted(rows, key=lambda row: worst if row.value is None else sign * row.value)
    lines = [
        f"  {row.trial:>5}  {'' if row.value is None else f'{row.value:.4g}':>10}  "
        f"{' '.join(plan.changes(row.params))}"
        f"{'' if row.state == 'complete' else f'  ({row.note or row.state})'}"
        for row in ordered
    ]
    files = f"{where / comparison.TABLE}, {comparison.PICTURE} beside it"
    return "\n".join(
        ["", f"  trial  {fixed.figure:>10}", *lines, "", f"  all of it    {files}",
         f"  take it      python -m pipelines.sweep {where.name} --take"]
    )  # fmt: skip


def _take(asked: argparse.Namespace) -> int:
    """Write a trial's parameters into params.yaml, hand its training over, and run the chain."""
    from pipelines.sweep.flow import direction, rows

    where = plan.folder(Path.cwd(), asked.name)
    fixed = plan.read(where)
    found = rows(where)
    first = comparison.best(found, direction(fixed.figure))
    if asked.take != "best":
        first = next((row for row in found if str(row.trial) == asked.take), None)
    if first is None or first.state != "complete":
        raise InputError(f"{asked.name} has no trial {asked.take} that came to a figure.")
    print(f"trial {first.trial}: {fixed.figure} {first.value:.4g}")
    trial.hand_over(trial.place(where, first.trial), Path.cwd())
    changes = trial.differing(trial.place(where, first.trial), Path.cwd())
    settings.keep(changes, Path.cwd(), print)
    return subprocess.run([sys.executable, "-m", "pipelines"]).returncode


if __name__ == "__main__":
    sys.exit(main())

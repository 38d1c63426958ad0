"""All servers of this checkout: `python -m pipelines.stack up | down | status`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from monge.errors import MongeError
from pipelines.stack import settings, supervisor
from pipelines.stack.up import checkout, down, up


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the commands; the exit code."""
    asked = _parser().parse_args(arguments)
    place = checkout()
    try:
        if asked.command == "up":
            up(place, vars(asked), asked.timeout_s, lambda line: print(line, flush=True))
        elif asked.command == "down":
            down(place, print)
        elif asked.command == "status":
            from pipelines.stack import status

            return status.show(place, as_json=asked.json)
        else:
            return supervisor.run(place)
    except MongeError as error:
        print(f"{asked.command}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipelines.stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("up", help="start what does not run, and wait until all is well")
    settings.add_options(start)
    start.add_argument("--timeout-s", type=float, default=300.0, help="for all to be up (300)")
    commands.add_parser("down", help="stop all; data stay")
    show = commands.add_parser("status", help="what runs, where, since when, and what it does")
    show.add_argument("--json", action="store_true", help="the same for a program")
    commands.add_parser("supervise", help="keep the servers; `up` starts this")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Runs the flow once, for `make run`: `python -m pipelines` guards it.

What takes its time to start is started before Prefect is imported here.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

from monge.errors import MongeError
from pipelines import ahead, child, embedded


def main() -> int:
    """Run it; the first Ctrl-C lets the stage in hand save its work and end."""
    signal.signal(signal.SIGINT, child.stop)
    ahead.begin()
    try:
        return _run()
    finally:
        ahead.dismiss()


def _run() -> int:
    from pipelines import by_hand, summary
    from pipelines import workspace as own
    from pipelines.retrain import retrain

    try:
        embedded.ready()
    except MongeError as error:
        print(f"retrain: {error}", file=sys.stderr)
        return error.exit_code
    where: Any = os.environ.get(own.WORKSPACE) or "shared"
    with by_hand.begun():
        state: Any = retrain(workspace=where, return_state=True)
    if state.is_completed():
        if where == "shared":
            print("\n".join(summary.lines(Path.cwd())))
        return 0
    print(f"\nretrain: {state.message}", file=sys.stderr)
    told = re.search(r"ended with exit code (-?\d+)", state.message or "")
    code = int(told[1]) if told else 1
    return 130 if child.stopping else code if code >= 0 else 3  # a signal's: an outside reason


if __name__ == "__main__":
    sys.exit(main())

"""Runs the chain for `make run`: checks what can be checked at once, then guards the flow.

    python -m pipelines [--set section.key=value ...] [--product NAME] [--minutes 30]
    python -m pipelines deploy [--pool NAME] [--product NAME] [--git ADDRESS]

The flow gets a session of its own, because Ctrl-C at a terminal goes to a whole process group: it
would end Prefect's embedded server before the flow, which could then not even say that it stops.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from monge.errors import MongeError, ServiceError
from monge.params import PARAMS_FILE
from monge.params.file import changes_of_make
from monge.tracking import address
from pipelines import SERVERS, embedded, place, settings
from pipelines.server import answers

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Check parameters and server, run the flow, pass Ctrl-C on to it."""
    if sys.argv[1:2] == ["deploy"]:
        from pipelines import deploy

        return deploy.main(sys.argv[2:])
    began_s = time.monotonic()
    if SERVERS:
        print(f"retrain: {SERVERS}", flush=True)
    parser = argparse.ArgumentParser(
        prog="python -m pipelines", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--product", default="", metavar="NAME", help="that of products/NAME")
    parser.add_argument("--minutes", type=float, default=settings.MINUTES, help="for `auto`")
    parser.add_argument(
        "--workspace", choices=("shared", "own"), default="shared",
        help="own: beside a run that is at work here, in a copy that goes at the end; --set is "
        "then for this run alone",
    )  # fmt: skip
    asked = parser.parse_args()
    try:
        changes = asked.set + changes_of_make()
        if asked.product:
            place.enter(asked.product)
        settings.checked(changes, Path(settings.FILE), Path.cwd())
        _check_server()
        address.given(Path.cwd())  # of MLflow: refused now, and not after the training
        fix = settings.keep if asked.workspace == "shared" else settings.fixed
        parameters = fix(changes, Path.cwd(), print)
    except MongeError as error:
        print(f"retrain: {error}", file=sys.stderr)
        return error.exit_code
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / settings.FILE
        file.write_text(parameters, encoding="utf-8")
        ours = {PARAMS_FILE: str(file), settings.UNTIL: str(began_s + asked.minutes * 60)}
        ours["MONGE_WORKSPACE"] = asked.workspace
        with embedded.server() as (api, held):
            return _guarded(os.environ | ours | api, held)


def _guarded(environment: dict[str, str], held: tuple[int, ...]) -> int:
    """Run the flow and pass Ctrl-C on to it; its exit code. It inherits the files `held`."""
    flow = subprocess.Popen(
        [sys.executable, "-m", "pipelines.once"],
        env=environment,
        pass_fds=held,
        start_new_session=True,
        preexec_fn=_end_with_parent,  # noqa: PLW1509 (there is one thread here)
    )

    def pass_on(_number: int, _frame: FrameType | None) -> None:
        if flow.poll() is None:
            os.kill(flow.pid, signal.SIGINT)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, pass_on)
    return flow.wait()


def _check_server() -> None:
    api = os.environ.get("PREFECT_API_URL")
    if api and not answers(api):
        raise ServiceError(
            f"PREFECT_API_URL: no Prefect server answers at {api}. Start it (`make up` and `make "
            "prefect` start one here), or unset it for the embedded one."
        )


def _end_with_parent() -> None:
    """If this process is killed, the flow gets SIGTERM (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())

"""One stage of the chain as a Prefect task, in a process of its own; what failed it, and again."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Failed

from monge import terminal
from monge.params import PARAMS_FILE
from pipelines import ahead, child, settings
from pipelines.child import Ended
from pipelines.turn import POLL_S, STOPPED

FILE_STAGES = ("prepare", "train", "export", "evaluate")
_DVC = (sys.executable, "-m", "pipelines.frozen_dvc", "--wait-for-lock")
# What DVC tells somebody at a keyboard after every stage; the README tells it once.
_HINTS = (
    "To track the changes", "git add", "To enable auto", "dvc config", "Use `dvc push`",
    "WARNING: Process '",  # a killed DVC's lock that this one has just removed
    "(PID ", "If there are no processes with such PIDs",  # told once, in our words
)  # fmt: skip
DIED = "Died"
"""Name of the state of a stage that ended for an outside reason: the only one that is retried."""
AGAIN = "MONGE_RETRY_DELAYS_S"
"""The environment variable with the seconds before each new try of a stage that died."""


KILLED = (
    "killed (SIGKILL), as the kernel does when memory runs out (`dmesg` says so). Close what else "
    "takes it, or ask for less: train.batch_size, evaluate.batch_size, prepare.workers."
)


def _died(_task: Any, _run: Any, state: State[Any]) -> bool:
    return state.name == DIED


_DELAYS_S = [float(each) for each in (os.environ.get(AGAIN) or "5,20,60").split(",")]


@task(
    task_run_name="{stage}", retries=len(_DELAYS_S), retry_delay_seconds=_DELAYS_S,
    retry_condition_fn=_died, cache_policy=NO_CACHE,
)  # fmt: skip
def run_stage(stage: str, parameters: str, skipped: bool = False) -> Any:
    """One stage in a process of its own: the first four through DVC, which knows if it is stale.

    `parameters` is the file with those of this run; `skipped` is what `unchanged` found to be so.
    """
    log = get_run_logger()
    if child.stopping:
        return Failed(message=STOPPED)
    if skipped:
        log.info("Stage '%s' didn't change, skipping", stage)
        return None
    if stage in FILE_STAGES:
        # Before the first stage lies what `dvc add` versions: that images changed is noted there.
        alone = () if stage == FILE_STAGES[0] else ("--single-item",)
        ended = _run_alone([*_DVC, "repro", *alone, stage], log.info, parameters)
    else:
        ended = _promoted(log.info, parameters)
    if ended.code == 0:
        return None
    return Failed(message=STOPPED) if child.stopping else _failed(stage, ended)


def unchanged(parameters: str) -> tuple[str, ...]:
    """The first stages, all that are as dvc.lock has them: one start of DVC instead of four.

    What DVC cannot say now, it says again, and to a person, when a stage is run.
    """
    ended = child.run([*_DVC, "status", "--json"], lambda _: None, **{PARAMS_FILE: parameters})
    with suppress(ValueError, IndexError):  # more than one word of JSON, or none
        if ended.code == 0:
            changed = json.loads(ended.tail[-1])
            return tuple(takewhile(lambda stage: stage not in changed, FILE_STAGES))
    return ()


@task(task_run_name="choose {stage}", cache_policy=NO_CACHE)
def choose(stage: str, parameters: str) -> Any:
    """Fill in what is `auto` for a stage, in this run's parameters and in the project's file."""
    if child.stopping:
        return Failed(message=STOPPED)
    command = ["monge", "choose", "--minutes", f"{settings.minutes_left():.2f}"]
    ended = child.run(command, get_run_logger().info, **{PARAMS_FILE: parameters})
    if ended.code:
        return Failed(message=STOPPED) if child.stopping else _failed(f"choose {stage}", ended)
    settings.keep_chosen(Path(parameters), Path.cwd())
    return None


def _promoted(log: Callable[[str], None], parameters: str) -> Ended:
    """Let the process promote that waits for it, or a new one."""
    ended = ahead.run(lambda line: _tell(line, log), **{PARAMS_FILE: parameters})
    return ended or _run_alone(["monge", "promote"], log, parameters)


def _run_alone(command: list[str], log: Callable[[str], None], parameters: str) -> Ended:
    """Run it, and while somebody's DVC is at work on the same files wait and run it again.

    DVC waits for some of its locks and gives up at once at others, however long the other takes.
    """
    waited = False
    while True:
        ended = child.run(command, lambda line: _tell(line, log), **{PARAMS_FILE: parameters})
        if ended.code == 0 or not any(map(_busy, ended.tail)):
            return ended
        if not waited:
            log("another DVC is at work in this folder; waiting for it")
            waited = True
        time.sleep(POLL_S)
        if child.stopping:
            return ended


def _tell(line: str, log: Callable[[str], None]) -> None:
    """Pass a line on, save what DVC says to people only, and a command without its parameters."""
    if not (_hint(line) or _busy(line)):
        log(line.partition(" -- ")[0] if line.startswith("> ") else line)
        terminal.show_named(line, sys.stderr)


def _busy(line: str) -> bool:
    return "is busy, it is being blocked" in line


def _hint(line: str) -> bool:
    return line.strip().startswith(_HINTS)


def _failed(stage: str, ended: Ended) -> State[Any]:
    """The state of a stage that did not end well, in one line and without a traceback."""
    code = stage_exit_code(ended)
    outside = code == 3 or code < 0 or 128 < code <= 128 + signal.NSIG
    own = [line for line in ended.tail if "failed to run: " not in line]
    told = next((i for i, line in enumerate(own) if line.startswith("monge: ")), len(own) - 1)
    reason = "\n".join(own[told:]) if own else "no word of why"
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        reason = f"{KILLED} The last that it said: {own[-1] if own else 'nothing'}"
    return Failed(
        name=DIED if outside else "Failed", message=f"{stage} ended with exit code {code}: {reason}"
    )


def stage_exit_code(ended: Ended) -> int:
    """The stage's own exit code: DVC exits with its own and puts the stage's in its last line."""
    for line in reversed(ended.tail):
        match = re.search(r"failed to run: .*, exited with (-?\d+)", line)
        if match:
            return int(match[1])
    if any("is busy" in line for line in ended.tail):  # another DVC in this folder: wait and retry
        return 3
    return 3 if ended.code == 255 else ended.code  # 255: DVC itself could not go on

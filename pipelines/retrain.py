"""The chain: prepare, train, export, evaluate, promote.

    python -m pipelines [--set section.key=value ...]

Prefect decides when and again; DVC decides what is stale; the work is `monge <stage>`.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Failed

from monge import files, terminal
from monge.errors import InputError
from monge.params import PARAMS_FILE
from monge.paths import Paths
from monge.stages import dvc_lock
from pipelines import artifacts, child, settings, summary
from pipelines.child import Ended

FILE_STAGES = ("prepare", "train", "export", "evaluate")
# What DVC tells somebody at a keyboard after every stage; the README tells it once.
_HINTS = (
    "To track the changes", "git add", "To enable auto", "dvc config", "Use `dvc push`",
    "WARNING: Process '",  # a killed DVC's lock that this one has just removed
    "(PID ", "If there are no processes with such PIDs",  # told once, in our words
)  # fmt: skip
DIED = "Died"
"""Name of the state of a stage that ended for an outside reason: the only one that is retried."""
BUSY_POLL_S = 3.0
STOPPED = "stopped; what was done is kept, and the same command goes on"


def _died(_task: Any, _run: Any, state: State[Any]) -> bool:
    return state.name == DIED


@task(
    task_run_name="{stage}", retries=2, retry_delay_seconds=5, retry_condition_fn=_died,
    cache_policy=NO_CACHE,
)  # fmt: skip
def run_stage(stage: str, parameters: str) -> Any:
    """One stage in a process of its own: the first four through DVC, which knows if it is stale.

    `parameters` is the file with those of this run.
    """
    log = get_run_logger()
    if child.stopping:
        return Failed(message=STOPPED)
    if stage in FILE_STAGES:
        command = [sys.executable, "-m", "pipelines.frozen_dvc", "--wait-for-lock"]
        command += ["repro", "--single-item", stage]
    else:
        command = ["monge", stage]
    ended = _run_alone(command, log.info, parameters)
    if ended.code == 0:
        return None
    return Failed(message=STOPPED) if child.stopping else _failed(stage, ended)


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
        time.sleep(BUSY_POLL_S)
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


@flow(name="retrain")
def retrain(changes: list[str] | None = None) -> Any:
    """Run the chain with params.yaml as it is now and `changes`, as section.key=value.

    They are this run's alone, and stay its own whatever becomes of the file. Of several runs in a
    folder one is at work, from its first stage to its last.
    """
    log = get_run_logger()
    try:
        parameters = settings.fixed(changes or [], Path.cwd(), log.info)
    except InputError as error:
        return Failed(message=str(error))
    turn = _turn(log.info)
    if turn is None:
        return Failed(message=STOPPED)
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / settings.FILE
            file.write_text(parameters, encoding="utf-8")
            return _chain(str(file), log.warning)
    finally:
        os.close(turn)


def _turn(log: Callable[[str], None]) -> int | None:
    """Wait for the runs before this one; a lock that a killed run lets go of, None when stopped."""
    path, waited = Paths(Path.cwd()).own_state / "chain.lock", False
    while (held := files.lock(path, wait=False)) is None:
        if not waited:
            log("another run is at work in this folder; waiting for it")
            waited = True
        time.sleep(BUSY_POLL_S)
        if child.stopping:
            return None
    return held


def _chain(parameters: str, log: Callable[[str], None]) -> Any:
    for stage, how in dvc_lock.untrue(Paths(Path.cwd())).items():
        dvc_lock.distrust(Paths(Path.cwd()), stage)
        log(f"dvc.lock was wrong about {stage} ({how}): it runs again")
    for stage in (*FILE_STAGES, "promote"):
        if stage in ("prepare", "train") and settings.unchosen(Path(parameters), stage):
            state = choose(stage, parameters, return_state=True)
            if not state.is_completed():
                return Failed(message=state.message)
        state = run_stage(stage, parameters, return_state=True)
        if not state.is_completed():
            return Failed(message=state.message)
    artifacts.publish(Path.cwd())
    return None


def main() -> int:
    """Run the flow once; the first Ctrl-C lets the stage in hand save its work and end."""
    signal.signal(signal.SIGINT, child.stop)
    state: State[Any] = retrain(return_state=True)  # type: ignore[assignment]
    if state.is_completed():
        print("\n".join(summary.lines(Path.cwd())))
        return 0
    print(f"\nretrain: {state.message}", file=sys.stderr)
    told = re.search(r"ended with exit code (\d+)", state.message or "")
    return 130 if child.stopping else int(told[1]) if told else 1


if __name__ == "__main__":
    sys.exit(main())

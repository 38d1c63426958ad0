"""The chain: prepare, train, export, evaluate, promote.

    python -m pipelines [--set section.key=value ...]

Prefect decides when and again; DVC decides what is stale; the work is `monge <stage>`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from prefect import flow, get_run_logger
from prefect.states import Failed

from monge.paths import Paths
from monge.stages import dvc_lock, lock_and_code
from monge.versions.dvc import forget_cut_note
from pipelines import ahead, artifacts, hooks, settings, summary, turn
from pipelines import workspace as own
from pipelines.stage import FILE_STAGES, choose, run_stage, unchanged
from pipelines.watch import Hours, looked_after

Workspace = Literal["shared", "own"]


@flow(name="retrain", **hooks.ENDS)
def retrain(
    changes: list[str] | None = None, hours: Hours = None, workspace: Workspace = "shared"
) -> Any:
    """Run the chain with params.yaml as it is now and `changes`, as section.key=value.

    They are this run's alone, and stay its own whatever becomes of the file. Of several runs in a
    folder one is at work, from its first stage to its last. Prefect's page shows these words:

    Args:
        changes: Parameters of this run alone, over those of params.yaml, each as
            section.key=value, such as train.steps=8000. The file stays as it is.
        workspace: shared waits for the runs before it in the same folder; own works beside them,
            in a copy of the project that is removed at the end.
    """
    return looked_after(hours, lambda: _with_parameters(changes or [], workspace))


def _with_parameters(changes: list[str], where: Workspace) -> Any:
    """Fix the run's parameters, wait for the turn, and run the chain. Raises MongeError."""
    log = get_run_logger()
    parameters = settings.fixed(changes, Path.cwd(), log.info)
    if where == "own":
        return own.beside(parameters, lambda: _in_turn(parameters, log), log.info)
    return _in_turn(parameters, log)


def _in_turn(parameters: str, log: Any) -> Any:
    with turn.taken(Path.cwd(), log.info), tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / settings.FILE
        file.write_text(parameters, encoding="utf-8")
        return _chain(str(file), log.warning)


def _chain(parameters: str, log: Callable[[str], None]) -> Any:
    if (aside := dvc_lock.set_aside_cut(Paths(Path.cwd()))) is not None:
        log(f"dvc.lock was cut short: it is in {aside} now, and the stages run again")
    if forget_cut_note(Path.cwd()):
        log("DVC's note of who is at work, .dvc/tmp/rwlock, was cut short: it is removed")
    for stage, how in dvc_lock.untrue(Paths(Path.cwd())).items():
        dvc_lock.distrust(Paths(Path.cwd()), stage)
        log(f"dvc.lock was wrong about {stage} ({how}): it runs again")
    as_before = () if settings.unchosen(Path(parameters)) else unchanged(parameters)
    if "train" in as_before and (other := lock_and_code.other_code(Paths(Path.cwd()))):
        dvc_lock.distrust(Paths(Path.cwd()), "train")
        log(f"dvc.lock was wrong about train's code ({', '.join(other[:4])}): it runs again")
        as_before = as_before[: as_before.index("train")]
    if as_before != FILE_STAGES:
        ahead.dismiss()
    for stage in (*FILE_STAGES, "promote"):
        if stage in ("prepare", "train") and settings.unchosen(Path(parameters), stage):
            state = choose(stage, parameters, return_state=True)
            if not state.is_completed():
                return Failed(message=state.message)
        state = run_stage(stage, parameters, stage in as_before, return_state=True)
        if not state.is_completed():
            return Failed(message=state.message)
    artifacts.publish(Path.cwd())
    hooks.promoted(summary.promotion_facts(Paths(Path.cwd())))
    return None

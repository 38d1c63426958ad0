"""The flow of a sweep: a task for each trial, on threads here or on the workers of a cluster."""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Failed
from pydantic import Field

from monge import files
from monge.errors import InputError
from monge.evaluation.catalogue import CATALOGUE
from monge.params import load
from monge.paths import Paths
from monge.tracking import Run, open_run
from monge.tracking.environment import PARENT, asked
from pipelines import hooks, runners, settings
from pipelines.stage import DIED, run_stage
from pipelines.sweep import comparison, plan, space, trial
from pipelines.sweep.comparison import Row
from pipelines.sweep.plan import Direction, Plan, Search
from pipelines.turn import STOPPED
from pipelines.watch import Hours, looked_after


def _died(_task: Any, _run: Any, state: State[Any]) -> bool:
    return state.name == DIED


@task(
    task_run_name="trial {number}", retries=2, retry_delay_seconds=5, retry_condition_fn=_died,
    cache_policy=NO_CACHE,
)  # fmt: skip
def run_trial(folder: str, number: int, parent: str, threads: str) -> Any:
    """One trial from its parameters to its figure, told to the sweep's memory.

    Takes paths and numbers only, so that it can travel to a machine that shares the folder.
    """
    sweep, log = Path(folder), get_run_logger().info
    fixed = plan.read(sweep)
    study = plan.memory(sweep, fixed, direction(fixed.figure), number)
    if plan.ended(study, number) is not None:
        return None
    drawn = plan.trial_of(study, fixed, number)
    where, prepared = trial.place(sweep, number), Paths(sweep.parent.parent).prepared
    log("trial %d: %s", number, " ".join(plan.changes(drawn.params)))
    trial.begin(where, fixed, drawn.params, prepared)
    ours = {PARENT: parent, "OMP_NUM_THREADS": threads}
    try:
        study.tell(drawn, trial.value(where, fixed, drawn, log, **ours))
    except trial.Pruned as pruned:
        drawn.set_user_attr("note", str(pruned))
        study.tell(drawn, state=_state("PRUNED"))
    except trial.Ill as ill:
        drawn.set_user_attr("note", str(ill))
        study.tell(drawn, state=_state("FAIL"))
        log("trial %d: %s", number, ill)
    except trial.Died as died:
        return Failed(name=DIED, message=str(died))
    except trial.Stopped:
        return Failed(message=STOPPED)
    return None


@flow(name="sweep", flow_run_name="{name}", task_runner=runners.runner("threads", 2), **hooks.ENDS)
def sweep(
    name: Annotated[str, Field(description="The folder in sweeps/; with it alone it goes on.")],
    vary: Annotated[
        list[str] | None,
        Field(
            description="section.key=value,value or section.key=low..high, :log behind it for a "
            "range of orders of magnitude.",
            examples=[["train.wgan-gp.learning_rate=1e-4..3e-3:log", "train.latent_dim=16,64"]],
        ),
    ] = None,
    search: Annotated[
        Search, Field(description="Every combination, at random, or learned from those before.")
    ] = "learned",
    trials: Annotated[
        int | None, Field(ge=1, description=f"How many; empty: {plan.TRIALS}, or the whole grid.")
    ] = None,
    changes: Annotated[
        list[str] | None, Field(description="Parameters of all trials, as section.key=value.")
    ] = None,
    figure: Annotated[
        str, Field(description="What decides; empty: the first condition's of `promote`.")
    ] = "",
    seed: Annotated[int, Field(ge=0, description="Of what is drawn at random.")] = 0,
    prune: Annotated[
        bool, Field(description="End what is behind the median of the others at the same step.")
    ] = True,
    workers: Annotated[int, Field(ge=1, description="How many share a machine's threads.")] = 2,
    hours: Hours = None,
) -> Any:
    """Try parameters and compare what comes out."""

    def work() -> Any:
        where = begin(Path.cwd(), name, vary, search, trials, changes, figure, seed, prune)
        return _swept(where, trial.threads(workers))

    return looked_after(hours, work)


def _swept(where: Path, threads: str) -> Any:
    """Run what is left of a sweep's trials and compare all of them."""
    lock = files.lock(where / ".lock", wait=False)
    if lock is None:
        return Failed(message=f"another process is at work on the sweep {where.name}. Wait for it.")
    try:
        fixed = plan.read(where)
        prepared = _prepared(fixed)
        if not prepared.is_completed():
            return Failed(message=prepared.message)
        run = _parent(Path.cwd(), where, fixed)
        parent, numbers = run.run_id(30.0) or "", range(fixed.trials)
        futures = [run_trial.submit(str(where), number, parent, threads) for number in numbers]
        for future in futures:
            future.wait()
        failed = [future.state for future in futures if not future.state.is_completed()]
        first = _compared(where, fixed, run)
        run.close("FAILED" if failed else "FINISHED")
    finally:
        os.close(lock)
    if failed:
        return Failed(message=failed[0].message)
    return None if first else Failed(message=f"no trial came to a figure: see {where}")


def begin(
    root: Path,
    name: str,
    vary: list[str] | None,
    search: Search = "learned",
    trials: int | None = None,
    changes: list[str] | None = None,
    figure: str = "",
    seed: int = 0,
    prune: bool = True,
) -> Path:
    """Fix the plan of a sweep, or find it fixed already; its folder. Raises InputError."""
    where = plan.folder(root, name)
    if not vary:
        fixed = plan.read(where)
    else:
        varied = space.parsed(vary)
        space.check(varied, changes or [], root / settings.FILE)
        text = settings.fixed(changes or [], root, lambda _: None)
        figure = figure or load(root / settings.FILE, changes).promote.conditions[0].metric
        direction(figure)
        count = plan.count(varied, search, trials)
        fixed = Plan(tuple(vary), search, figure, seed, prune, count, text)
        plan.begin(where, fixed)
    plan.memory(where, fixed, direction(fixed.figure))
    return where


def _prepared(fixed: Plan) -> State[Any]:
    """Prepare the images that all trials share; how that ended."""
    with _parameters(fixed) as file:
        state: State[Any] = run_stage("prepare", str(file), return_state=True)
        return state


def _parent(root: Path, where: Path, fixed: Plan) -> Run:
    """The MLflow run that those of the trials stand under."""
    with _parameters(fixed) as file:
        experiment = load(file).promote.name
    state = Paths(root).state
    run = open_run(f"sweep-{where.name}", root=root, state=state, experiment=experiment)
    run.tags(asked())
    run.params({"search": fixed.search, "figure": fixed.figure, "seed": fixed.seed})
    run.params({f"vary.{text.partition('=')[0]}": text.partition("=")[2] for text in fixed.vary})
    return run


def _compared(where: Path, fixed: Plan, run: Run) -> Row | None:
    """Write table and picture, show them on both pages; the best trial."""
    way = direction(fixed.figure)
    found = rows(where)
    comparison.write(where, fixed, found, way)
    first = comparison.best(found, way)
    said = "no trial came to a figure"
    if first is not None and first.value is not None:
        words = " ".join(plan.changes(first.params))
        said = f"best: trial {first.trial}, {fixed.figure} {first.value:.4g}: {words}"
        run.metrics({f"best.{fixed.figure}": first.value}, 0, again=True)
        run.tags({"best": words})
    get_run_logger().info(said)
    _publish(where, fixed, found, said)
    for left in (comparison.TABLE, comparison.PICTURE):
        if (where / left).exists():
            run.file(where / left, "")
    return first


@contextmanager
def _parameters(fixed: Plan) -> Iterator[Path]:
    """The sweep's parameters as a file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / settings.FILE
        file.write_text(fixed.params, encoding="utf-8")
        yield file


def direction(figure: str) -> Direction:
    """Say which way is better, in Optuna's word. Raises InputError for what cannot decide."""
    entry = CATALOGUE.get(figure)
    if entry is None or entry.better == "neither":
        fit = ", ".join(sorted(name for name, one in CATALOGUE.items() if one.better != "neither"))
        raise InputError(f"{figure!r} is no figure that can decide. There are: {fit}.")
    return "minimize" if entry.better == "lower" else "maximize"


def rows(where: Path) -> list[Row]:
    """List what became of each trial so far, by their numbers."""
    fixed = plan.read(where)
    study = plan.memory(where, fixed, direction(fixed.figure))
    found = [
        Row(one.user_attrs["task"], one.state.name.lower(), one.value if one.values else None,
            one.params, one.user_attrs.get("note", ""))
        for one in study.get_trials(deepcopy=False)
        if "task" in one.user_attrs
    ]  # fmt: skip
    return sorted(found, key=lambda row: row.trial)


def _publish(where: Path, fixed: Plan, found: list[Row], said: str) -> None:
    told = [
        {"trial": row.trial, "state": row.state, fixed.figure: row.value, **row.params,
         "note": row.note}
        for row in found
    ]  # fmt: skip
    create_table_artifact(told, key="sweep", description=said)
    if (where / comparison.PICTURE).exists():
        picture = base64.b64encode((where / comparison.PICTURE).read_bytes()).decode("ascii")
        create_markdown_artifact(
            f"![sweep](data:image/png;base64,{picture})\n", key="sweep-picture", description=said
        )


def _state(name: str) -> Any:
    from optuna.trial import TrialState

    return TrialState[name]

"""Plans a sweep, fixed when it begins, and remembers what each trial came to.

A sweep is a folder, sweeps/NAME: the plan, Optuna's journal, and a folder for each trial. A second
start with the same plan goes on where the first was broken off.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from monge.errors import InputError, MissingExtra
from monge.files import write_whole
from pipelines.sweep import space as spaces

if TYPE_CHECKING:
    import optuna
    from optuna.storages.journal import JournalFileSymlinkLock

FOLDER = "sweeps"
Search = Literal["grid", "random", "learned"]
SEARCHES: tuple[Search, ...] = get_args(Search)
Direction = Literal["minimize", "maximize"]
TRIALS = 12
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_FILE, _JOURNAL, _TASK = "plan.json", "journal", "task"
_STARTUP = 4


@dataclass(frozen=True)
class Plan:
    """The space, how it is searched, by which figure, and the parameters that stay the same."""

    vary: tuple[str, ...]
    search: Search
    figure: str
    seed: int
    prune: bool
    trials: int
    params: str
    """The text of a params.yaml, with the sweep's own changes in it."""

    @property
    def space(self) -> spaces.Space:
        """Read what is varied."""
        return spaces.parsed(self.vary)


def folder(root: Path, name: str) -> Path:
    """Find where a sweep lies. Raises InputError for what is no name."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} cannot name a sweep: take up to 64 letters, digits, '.', '_' or '-', the "
            "first one a letter or a digit."
        )
    return root / FOLDER / name


def begin(place: Path, plan: Plan) -> None:
    """Write the plan, or find the same one there, with no more trials. Raises InputError."""
    if (place / _FILE).exists():
        there = asdict(read(place))
        other = [name for name, value in asdict(plan).items() if there[name] != value]
        if other not in ([], ["trials"]) or plan.trials < there["trials"]:
            raise InputError(
                f"the sweep {place.name} was begun with another {', another '.join(other)}. Give "
                f"this one another name, or remove {place}."
            )
    place.mkdir(parents=True, exist_ok=True)
    write_whole(place / _FILE, json.dumps(asdict(plan), indent=2).encode("utf-8"))


def read(place: Path) -> Plan:
    """The plan of a sweep that was begun. Raises InputError."""
    try:
        found = json.loads((place / _FILE).read_text(encoding="utf-8"))
        return Plan(**found | {"vary": tuple(found["vary"])})
    except OSError as error:
        raise InputError(f"{place.name}: no sweep of this name was begun here.") from error
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{place / _FILE}: damaged ({error}). Begin a sweep of another name, or remove {place}."
        ) from error


def memory(place: Path, plan: Plan, direction: Direction, task: int = 0) -> optuna.Study:
    """Optuna's study of a sweep, with a sampler for one of its trials. Raises MissingExtra."""
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
    except ImportError as error:
        raise MissingExtra("A sweep needs Optuna: pip install 'monge[search]'.") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal = place / _JOURNAL
    _cut_torn_line(journal, JournalFileSymlinkLock(str(journal)))
    return optuna.create_study(
        study_name=place.name, storage=JournalStorage(JournalFileBackend(str(journal))),
        direction=direction, load_if_exists=True, sampler=_sampler(plan, task),
        pruner=optuna.pruners.MedianPruner(_STARTUP) if plan.prune else optuna.pruners.NopPruner(),
    )  # fmt: skip


def _cut_torn_line(journal: Path, lock: JournalFileSymlinkLock) -> None:
    """Cut what a power cut left of a line: Optuna would write behind it, and read neither."""
    if not journal.exists() or journal.read_bytes()[-1:] in (b"", b"\n"):
        return
    lock.acquire()  # it may be a line that another process is writing
    try:
        os.truncate(journal, journal.read_bytes().rfind(b"\n") + 1)
    finally:
        lock.release()


def trial_of(study: optuna.Study, plan: Plan, task: int) -> optuna.Trial:
    """The trial of a number: the one that was begun for it, finished or not, or a new one."""
    import optuna

    for one in study.get_trials(deepcopy=False):
        if one.user_attrs.get(_TASK) == task:
            return optuna.Trial(study, one._trial_id)
    trial = study.ask(spaces.distributions(plan.space))
    trial.set_user_attr(_TASK, task)
    return trial


def ended(study: optuna.Study, task: int) -> optuna.trial.FrozenTrial | None:
    """The trial of a number, once it is over."""
    for one in study.get_trials(deepcopy=False):
        if one.user_attrs.get(_TASK) == task and one.state.is_finished():
            return one
    return None


def count(space: spaces.Space, search: Search, asked: int | None) -> int:
    """Count the trials that are to be. Raises InputError."""
    if search == "grid":
        points = len(spaces.grid(space))
        if asked is not None and asked != points:
            raise InputError(f"the grid has {points} points. Leave out --trials.")
        return points
    if asked is not None and asked < 1:
        raise InputError(f"--trials: must be at least 1, got {asked}.")
    return asked or TRIALS


def changes(params: Mapping[str, Any]) -> list[str]:
    """A trial's parameters as they are typed."""
    return [spaces.change(key, value) for key, value in params.items()]


def _sampler(plan: Plan, task: int) -> optuna.samplers.BaseSampler:
    """Each trial draws from a seed of its own, so that it is the same whoever runs it."""
    from optuna.samplers import RandomSampler, TPESampler

    class Point(RandomSampler):
        """A point of the grid."""

        def sample_independent(
            self, study: Any, trial: Any, param_name: str, param_distribution: Any
        ) -> Any:
            return spaces.grid(plan.space)[task][param_name]

    seed = int(np.random.SeedSequence([plan.seed, task]).generate_state(1)[0])
    if plan.search == "learned":
        return TPESampler(seed=seed, n_startup_trials=_STARTUP, constant_liar=True)
    return Point() if plan.search == "grid" else RandomSampler(seed=seed)

"""One trial: a folder of its own, in which the stages run as in any project."""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monge.evaluation import document
from monge.files import remove, write_whole
from monge.params import PARAMS_FILE, typed
from monge.params.edit import laid_over
from monge.params.file import read
from monge.paths import Paths
from monge.training.checkpoints.resume import set_aside_folder
from monge.training.watch import quality
from pipelines import child
from pipelines.child import Ended
from pipelines.sweep.plan import Plan
from pipelines.sweep.space import change

if TYPE_CHECKING:
    import optuna


class Pruned(Exception):
    """This trial is behind the others at the same step and is not worth its time."""


class Ill(Exception):
    """A stage ended with an exit code that trying again will not change; its words."""


class Died(Exception):
    """A stage ended for an outside reason; its words."""


def place(sweep: Path, task: int) -> Path:
    """The folder of a trial by its number."""
    return sweep / f"{task:03d}"


def begin(folder: Path, plan: Plan, params: dict[str, Any], prepared: Path) -> None:
    """Make a trial's folder: its parameters, and the images that all of them share."""
    words = (change(key, value).partition("=") for key, value in params.items())
    values = {key: typed(key, text) for key, _, text in words}
    text = laid_over(plan.params, values, lambda _: None)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "params.yaml", text.encode("utf-8"))
    if not _prepares(params):
        own = Paths(folder).prepared
        own.parent.mkdir(exist_ok=True)
        if not own.is_symlink():
            own.symlink_to(prepared.resolve(), target_is_directory=True)


def value(
    folder: Path, plan: Plan, trial: optuna.Trial, log: Callable[[str], None], **environment: str
) -> float:
    """Run the stages; the figure that the sweep is about. Raises Pruned, Ill, Died, Stopped."""
    watch = _Watch(folder, trial, log)
    stages = ["train", "export", "evaluate"]
    if _prepares(trial.params):
        stages.insert(0, "prepare")
    for stage in stages:
        _stage(folder, stage, watch if stage == "train" else log, environment)
    return figure(folder, plan.figure)


def figure(folder: Path, name: str) -> float:
    """A figure of the last judgement. Raises Ill where there is none of this name."""
    figures = document.read(Paths(folder).metrics)
    if name not in figures or not math.isfinite(float(figures[name]["value"])):
        raise Ill(f"there is no figure {name}. There are: {', '.join(sorted(figures))}")
    return float(figures[name]["value"])


class Stopped(Exception):
    """Somebody asked us to stop; the same command goes on."""


def _stage(
    folder: Path, stage: str, log: Callable[[str], None], environment: dict[str, str]
) -> None:
    if child.stopping:
        raise Stopped
    command = [sys.executable, "-m", "monge", "-C", str(folder), stage]
    ours = {PARAMS_FILE: str(folder / "params.yaml")}
    ended = child.run(command, log, **environment, **ours)
    if ended.code == 0:
        return
    if child.stopping:
        raise Stopped
    settled = ended.code in (2, 4)  # the input, or the training itself
    raise (Ill if settled else Died)(f"{stage}: {_reason(ended)}")


def _reason(ended: Ended) -> str:
    """Read what a stage said of its end, in one line."""
    first = next((i for i, line in enumerate(ended.tail) if line.startswith("monge: ")), -1)
    told = " ".join(line.strip() for line in ended.tail[first:])
    return told.removeprefix("monge: ") or "no word of why"


class _Watch:
    """Hands the lines of a training on, and with each looks whether the trial is worth its time."""

    def __init__(self, folder: Path, trial: optuna.Trial, log: Callable[[str], None]) -> None:
        self.folder, self.trial, self.log = Paths(folder).checkpoints, trial, log
        worse_is_more = trial.study.direction.name == "MINIMIZE"
        self.sign = 1.0 if worse_is_more else -1.0  # looks are distances: lower is better
        self.last = -1

    def __call__(self, line: str) -> None:
        self.log(line)
        for look in quality.read(self.folder):
            if look.step > self.last:
                self.last = look.step
                self.trial.report(self.sign * look.figure, look.step)
                if self.trial.should_prune():
                    raise Pruned(f"pruned at step {look.step}")


def _prepares(params: dict[str, Any]) -> bool:
    """Tell whether a trial has images of its own making."""
    return any(key.startswith("prepare.") for key in params)


def threads(workers: int) -> str:
    """So many threads for each of several trials on this machine."""
    return str(max(1, (os.cpu_count() or 1) // workers))


def hand_over(folder: Path, root: Path) -> None:
    """Copy a trial's checkpoints to where the project's next training finds them complete."""
    aside = set_aside_folder(Paths(root).checkpoints)
    waiting = aside.with_name(f".{aside.name}.taken")
    remove(waiting, ignore_errors=True)
    shutil.copytree(Paths(folder).checkpoints, waiting)
    remove(aside, ignore_errors=True)
    waiting.rename(aside)


def differing(folder: Path, root: Path) -> list[str]:
    """List what makes the project's parameters those of a trial, as they are typed."""
    theirs, ours = (_flat(read(place / "params.yaml")) for place in (folder, root))
    return [change(key, value) for key, value in theirs.items() if ours.get(key) != value]


def _flat(section: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in section.items():
        name = f"{before}{key}"
        found |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return found

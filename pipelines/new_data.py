"""The look for new images: what came is added, compared, and trained on when that is worth it.

    python -m pipelines.new_data [--incoming FOLDER] [--min-images 200] [--start fine-tune]

What is found and decided is the artifact `new-data` of the run, and its last sentence.
"""

from __future__ import annotations

import argparse
import base64
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed
from pydantic import Field

from monge import stages
from monge.errors import InputError, MongeError
from monge.params import load
from monge.paths import Paths
from monge.stages.noticing import Notice, start_of
from monge.versions.drift import Policy
from pipelines import by_hand, child, hooks, place
from pipelines.retrain import retrain
from pipelines.watch import Hours, looked_after

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0.0)]
Probability = Annotated[float, Field(gt=0.0, lt=1.0)]


@task(task_run_name="collect", cache_policy=NO_CACHE)
def collect(incoming: str, pull: bool) -> Any:
    """Bring the images up to date: from DVC's remote, and from a drop folder."""
    log = get_run_logger().info
    params = load("params.yaml", chosen=())
    commands = [["dvc", "pull", f"{params.prepare.path}.dvc"]] if pull else []
    if incoming and any(file.is_file() for file in Path(incoming).rglob("*")):
        commands.append(["monge", "data", "add", incoming])
    for command in commands:
        ended = child.run(command, log)
        if ended.code:
            told = ended.tail[-1] if ended.tail else f"exit code {ended.code}"
            return Failed(message=f"{' '.join(command)}: {told}")
    return None


@task(task_run_name="look", cache_policy=NO_CACHE)
def look(policy: Policy) -> Any:
    """Compare the images with those of the champion, and decide."""
    try:
        return stages.notice(load("params.yaml"), Paths(Path.cwd()), policy)
    except MongeError as error:
        return Failed(message=f"{error} (exit code {error.exit_code})")


@flow(name="new-data", **hooks.ENDS)
def new_data(
    incoming: str = "",
    pull: bool = False,
    min_images: Count = 200,
    min_share: Share = 0.1,
    p_value: Probability = 0.01,
    drifted: Count = 2,
    windows: Count = 3,
    window_images: Annotated[int, Field(ge=10)] = 30,
    start: Literal["fresh", "fine-tune"] = "fresh",
    changes: list[str] = [],  # noqa: B006 (it is read, and Prefect's form shows it)
    hours: Hours = None,
) -> Any:
    """Look for new images and, when they are worth it, retrain; the champion is judged anew then.

    The gate compares champion and candidate on the new held-out images: figures of other images
    are not comparable, and so the champion's file is judged again on these.

    Args:
        incoming: A drop folder: what lies in it is added to the images. Empty: none.
        pull: Bring the images from DVC's remote first that their .dvc file names.
        min_images: So many new images are worth a training.
        min_share: New images of this share of those there are worth one, too.
        p_value: A window has drifted where the p-value of its two-sample test is at most this.
        drifted: So many windows that have drifted are worth a training.
        windows: Of so many windows, the newest ones.
        window_images: Fewer new images than this wait for the next look.
        start: From random weights, or from the champion's where its checkpoints are here.
        changes: Parameters of the training, as section.key=value.
    """
    policy = Policy(min_images, min_share, p_value, drifted, windows, window_images)
    return looked_after(hours, lambda: _look_and_train(incoming, pull, policy, start, changes))


def _look_and_train(
    incoming: str, pull: bool, policy: Policy, start: str, changes: list[str]
) -> Any:
    state = collect(incoming, pull, return_state=True)
    if not state.is_completed():
        return Failed(message=state.message)
    state = look(policy, return_state=True)
    if not state.is_completed():
        return Failed(message=state.message)
    found: Notice = state.result()
    _publish(found)
    hooks.decided(found.sentence, found.train, found.figures)
    get_run_logger().info("%s", found.sentence)
    if not found.train:
        return Completed(message=found.sentence)
    more = list(changes)
    if start == "fine-tune":
        begin, how = start_of(load("params.yaml"), Paths(Path.cwd()))
        more = begin + more
        get_run_logger().info("%s", how)
    state = retrain(more, return_state=True)  # type: ignore[assignment]
    if not state.is_completed():
        return Failed(message=f"{found.sentence}; the training failed: {state.message}")
    return Completed(message=f"{found.sentence}; the training is done")


def _publish(found: Notice) -> None:
    """Leave sentence, figures and picture with the run."""
    windows = found.figures.get("windows", [])
    lines = [f"**{found.sentence}**", ""]
    lines += [f"- {name}: {value}" for name, value in found.figures.items() if name != "windows"]
    if windows:
        lines += ["", "| window | images | MMD² | p |", "|---|---|---|---|"]
        lines += [
            "| {date} | {images} | {mmd_squared:.3g} | {p_value:.3g} |".format(**window)
            for window in windows
        ]
    if found.picture:
        data = base64.b64encode(found.picture).decode("ascii")
        lines += [
            "",
            f"![old images on the left, new ones on the right](data:image/png;base64,{data})",
        ]
    create_markdown_artifact("\n".join(lines), key="new-data", description=found.sentence)


def main() -> int:
    """Run the look once."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--incoming", default="", help="a drop folder")
    parser.add_argument("--pull", action="store_true", help="from DVC's remote first")
    parser.add_argument("--min-images", type=int, default=200)
    parser.add_argument("--min-share", type=float, default=0.1)
    parser.add_argument("--p-value", type=float, default=0.01)
    parser.add_argument("--drifted", type=int, default=2, help="of the newest --windows")
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--window-images", type=int, default=30)
    parser.add_argument("--start", choices=("fresh", "fine-tune"), default="fresh")
    parser.add_argument("--set", action="append", default=[], dest="changes")
    parser.add_argument("--product", default="", metavar="NAME", help="that of products/NAME")
    asked = vars(parser.parse_args())
    try:
        if product := asked.pop("product"):
            place.enter(product)
    except InputError as error:
        print(f"new-data: {error}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGINT, child.stop)
    with by_hand.begun():
        state: Any = new_data(**asked, return_state=True)
    print(f"new-data: {state.message}", file=sys.stdout if state.is_completed() else sys.stderr)
    return 0 if state.is_completed() else 1


if __name__ == "__main__":
    sys.exit(main())

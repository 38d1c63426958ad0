"""Every method, with labels and without, images kept or streamed, on one rank and two: all killed.

    python tests/faults/kill_matrix.py PREPARED FOLDER KILLS SEED [few]

A case is trained undisturbed, and again with so many SIGKILLs at random steps, at random moments
within them; of two ranks one dies first. Checkpoints and curve must be equal in every bit. torch is
imported once, and each process of a training is forked. `few` are cases in which each method is
seen with each of these together, and each of its kinds; without it all are trained. Prints a line
a case.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import itertools
import os
import random
import shutil
import signal
import socket
import sys
import time
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from monge.data.packed import PackedDataset
from monge.params import Params, TrainParams
from monge.params.pairs import impossible_pairs
from monge.tracking import NullRun
from monge.training import adaptation, loop, state
from monge.training.code import identity as code_identity
from monge.training.context import Training
from monge.training.watch import grids, nearness, quality

if TYPE_CHECKING:
    from tests.kinds import KINDS, of_kind
else:  # as a program it does not know the folder of the tests by that name
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from kinds import KINDS, of_kind

STEPS = 7
LAST_KILLED = 4
"""The last step after whose checkpoint a training is killed: before it can have ended."""

LOOKED_AT = 100
"""Images in a look at the quality and the overfitting, which is most of what a short training does
when there are thousands; with fewer than these a training says that they are few."""

_WAYS = (
    (False, "resident", 1), (False, "resident", 2), (True, "resident", 2), (True, "resident", 1),
    (True, "streamed", 2), (True, "streamed", 1), (False, "streamed", 1), (False, "streamed", 2),
)  # fmt: skip
"""In such an order that two kinds or four, which come in turn, are each seen with every value."""

_ATTEMPTS = 3

METHODS = tuple(dict.fromkeys(options["objective"] for options in KINDS.values()))


class Case(NamedTuple):
    """One training of the matrix; `parts` are those that a batch is cut into."""

    kind: str
    net: str
    conditional: bool
    data: str
    ranks: int
    parts: int = 1

    def section(self) -> TrainParams:
        return TrainParams.model_validate(
            of_kind(
                self.kind, net=self.net, conditional=self.conditional, data=self.data,
                devices=self.ranks, accumulate=self.parts, device="cpu", steps=STEPS, batch_size=8,
                latent_dim=4, threads=1, log_every=3, grid_every=1000, quality_every=4,
                checkpoint_every=2, mlp={"depth": 2, "width": 16}, dcgan={"features": 4},
                resnet={"features": 4},
                **{"wgan": {"critic_steps": 2}, "wgan-gp": {"critic_steps": 2}},
            )
        )  # fmt: skip

    @property
    def method(self) -> str:
        return str(KINDS[self.kind]["objective"])

    def __str__(self) -> str:
        labels = "labels" if self.conditional else "no labels"
        ranks = "1 rank" if self.ranks == 1 else f"{self.ranks} ranks"
        parts = "1 part" if self.parts == 1 else f"{self.parts} parts"
        return f"{self.kind}, {self.net}, {labels}, {self.data}, {ranks}, {parts}"


MORE = (
    Case("wgan-gp", "resnet", True, "streamed", 2),
    Case("gan, hinge", "resnet", False, "resident", 1),
    Case("wgan-gp, augmented", "mlp", True, "resident", 1, parts=2),
    Case("wae-gan", "dcgan", False, "streamed", 2, parts=2),
)
"""Those of the few that are not plain in the rest."""


def cases() -> list[Case]:
    """All that can be trained: what is refused, several ranks for a few options, is left out.

    A residual net and batches in parts are with each kind, and not with all of the rest.
    """
    every = itertools.product(
        KINDS, ("mlp", "dcgan"), (False, True), ("resident", "streamed"), (1, 2)
    )
    found = [Case(*one) for one in every]
    for kind in KINDS:
        found.append(Case(kind, "resnet", True, "streamed", 1))
        found.append(Case(kind, "resnet", False, "resident", 2))
        found.append(Case(kind, "dcgan", True, "resident", 1, parts=2))
    found += [case for case in MORE if case not in found]
    return [case for case in found if not impossible_pairs(Params(train=case.section()))]


def few() -> list[Case]:
    """One case for each method with labels and without, kept and streamed, on one rank and two.

    Its kinds come in turn, those first that can be trained in the fewest ways, so that each is
    seen; the nets so that each is seen with each value of the rest.
    """
    possible = [case for case in cases() if case.parts == 1]
    ways, taken = Counter(case.kind for case in possible), Counter(case.kind for case in MORE)
    chosen = {(case.method, case[2:5]): case for case in MORE}
    for method, way in itertools.product(METHODS, _WAYS):
        if (method, way) in chosen:
            continue
        conditional, data, ranks = way
        net = ("mlp", "dcgan")[(ranks + conditional + (data == "streamed")) % 2]
        found = [case for case in possible if case.method == method and case[1:5] == (net, *way)]
        case = min(found, key=lambda case: (taken[case.kind], ways[case.kind]))
        chosen[method, way] = case
        taken[case.kind] += 1
    return [*chosen.values()]


def get_ready() -> None:
    """Make the trainings that are forked from here short: they look at less, by the same code.

    With `ada` the chance of a transformation moves from the first look on, by the scores.
    """
    torch.set_num_threads(1)
    quality.IMAGES = nearness._IMAGES = adaptation.IMAGES = LOOKED_AT
    adaptation.EVERY, adaptation.IMAGES_TO_MOST, adaptation._overfits = 2, 100, _overfits
    # Networks so small fit; to ask draws them on a device where torch imports its compiler first.
    state._refuse_what_does_not_fit = lambda *_: None
    # Grids are drawn, and not made into pictures, which nothing here compares.
    grids._encoded = lambda *_: b""
    setattr(grids.Grids, "_animate", lambda _: None)  # noqa: B010
    # A group of ranks asks all installed packages for backends; they stay the same meanwhile.
    vars(metadata)["entry_points"] = functools.cache(metadata.entry_points)
    metadata.entry_points(group="torch.distributed.backends")
    gc.collect()
    gc.freeze()  # what the collector does not look through is not copied for each fork


def _overfits(trained_on: Tensor, held_out: Tensor, generated: Tensor) -> Tensor:
    """Over a half, whatever the scores are, and another number for other scores."""
    return 0.75 + 0.25 * torch.sigmoid(trained_on + held_out - 2.0 * generated)


def start(case: Case, dataset: PackedDataset, folder: Path, least: int = 0) -> list[int]:
    """Fork the ranks of a training; their process numbers, the one that writes first."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        group = {"WORLD_SIZE": case.ranks, "MASTER_ADDR": "127.0.0.1"}
        group["MASTER_PORT"] = found.getsockname()[1]
    children = []
    for rank in range(case.ranks):
        child = os.fork()
        if not child:
            os.environ.update({key: str(value) for key, value in group.items()}, RANK=str(rank))
            _train(case, dataset, folder, rank, least)
        children.append(child)
    return children


def _train(case: Case, dataset: PackedDataset, folder: Path, rank: int, least: int) -> None:
    """Be a rank of a training, which goes on from step `least` or later, and end this process."""
    place = folder if rank == 0 else folder.with_name(f"{folder.name}-rank{rank}")
    try:
        outcome = loop.train(Training(case.section(), dataset, place, NullRun("key")))
        if rank == 0 and outcome.resumed_from < least:
            raise RuntimeError(f"went on from step {outcome.resumed_from}, not from {least}")
    except BaseException as error:
        # The rank that is left of a killed pair says so, too: it is told where it was not killed.
        (folder.parent / f"rank{rank}.txt").write_text(repr(error))
        os._exit(1)
    os._exit(0)


def finish(case: Case, dataset: PackedDataset, folder: Path, least: int = 0) -> None:
    """Train, or go on from step `least` or a later one, to the end."""
    for child in start(case, dataset, folder, least):
        _, status = os.waitpid(child, 0)
        if status:
            told = [path.read_text() for path in sorted(folder.parent.glob("rank*.txt"))]
            sys.exit(f"{case}: ended with {status}; see {folder}: {'; '.join(told)}")


def kill(case: Case, dataset: PackedDataset, folder: Path, step: int, dice: random.Random) -> bool:
    """Kill a training after this step's checkpoint; whether it was still at work."""
    children = start(case, dataset, folder)
    while not (folder / f"step-{step:08d}").exists() and not _has_ended(children[0]):
        time.sleep(0.002)
    time.sleep(dice.uniform(0.0, 0.02))
    statuses = {}
    for child in dice.sample(children, len(children)):
        # The rank that is left waits for the other, and is killed in that or has ended by itself.
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        _, statuses[child] = os.waitpid(child, 0)
    shutil.rmtree(folder.with_name(f"{folder.name}-rank1"), ignore_errors=True)
    first = next(iter(statuses.values()))
    return os.WIFSIGNALED(first) and statuses[children[0]] != 0


def _has_ended(child: int) -> bool:
    """Tell whether a child has ended, and leave its status for who waits for it."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def contents(folder: Path) -> dict[str, bytes]:
    """What must not differ, by name: checkpoints and curves."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".safetensors", ".csv")
    }


def compare(case: Case, dataset: PackedDataset, folder: Path, kills: int, seed: int) -> int:
    """The kills of one case; ends the program, and leaves the folders, where a bit differs."""
    dice = random.Random(f"{seed} {case}")
    whole, again = folder / "whole", folder / "killed"
    code_identity.code_identity(case.section())  # found once, and known in each fork
    code_identity.nets_identity(case.section())
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    finish(case, dataset, whole)
    _refuse_idle_adaptation(case, whole)
    killed, last = _killed(case, dataset, again, kills, dice)
    finish(case, dataset, again, last)
    first, second = contents(whole), contents(again)
    if first != second:
        differing = [name for name in first | second if first.get(name) != second.get(name)]
        sys.exit(f"{case}, seed {seed}: {', '.join(differing)} differ in {folder}")
    return killed


def _killed(
    case: Case, dataset: PackedDataset, folder: Path, kills: int, dice: random.Random
) -> tuple[int, int]:
    """How often it was killed at work, and the step of which it had a checkpoint at the last.

    On a busy machine a training may end before its kill: such a one is begun anew, a few times.
    """
    for _ in range(_ATTEMPTS):
        shutil.rmtree(folder, ignore_errors=True)
        steps = sorted(dice.choices(range(2, LAST_KILLED + 1, 2), k=kills))
        killed = sum(kill(case, dataset, folder, step, dice) for step in steps)
        for place in folder.parent.glob("rank*.txt"):
            place.unlink()
        if killed:
            break
    return killed, steps[-1]


def _refuse_idle_adaptation(case: Case, folder: Path) -> None:
    """End the program where a chance that should move did not: its case would protect nothing."""
    if case.section().augment != "ada":
        return
    tensors = load_file(folder / f"step-{STEPS:08d}" / "tensors.safetensors")
    if not float(tensors["noise.chance"]) > 0.0:
        sys.exit(f"{case}: the chance of a transformation has not moved; see {folder}")


def main() -> None:
    prepared, folder, kills, seed, *chosen = sys.argv[1:]
    get_ready()
    dataset = PackedDataset.open(Path(prepared))
    for case in few() if chosen == ["few"] else cases():
        killed = compare(case, dataset, Path(folder), int(kills), int(seed))
        print(f"{case}: killed {killed} times, every bit the same", flush=True)


if __name__ == "__main__":
    main()

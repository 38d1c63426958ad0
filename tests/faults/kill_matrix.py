"""Every method, with labels and without, images kept or streamed, on one rank and two: all killed.

    python tests/faults/kill_matrix.py PREPARED FOLDER KILLS SEED [CASES]

A case is trained undisturbed, and again with so many SIGKILLs at random steps, at random moments
within them; of two ranks one dies first. Checkpoints and curve must be equal in every bit. torch is
imported once, and each process of a training is forked. CASES: so many of them, in which each kind
of method is seen, and each value of the rest; without it all of them. Prints a line a case.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from monge.data.packed import PackedDataset
from monge.params import Params, TrainParams
from monge.params.pairs import impossible_pairs
from monge.tracking import NullRun
from monge.training import loop
from monge.training.code import identity as code_identity
from monge.training.context import Training

if TYPE_CHECKING:
    from tests.kinds import KINDS, of_kind
else:  # as a program it does not know the folder of the tests by that name
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from kinds import KINDS, of_kind

STEPS = 16
LAST_KILLED = 8
"""The last step after whose checkpoint a training is killed: before it can have ended."""


class Case(NamedTuple):
    """One training of the matrix."""

    kind: str
    net: str
    conditional: bool
    data: str
    ranks: int

    def section(self) -> TrainParams:
        return TrainParams.model_validate(
            of_kind(
                self.kind, net=self.net, conditional=self.conditional, data=self.data,
                devices=self.ranks, device="cpu", steps=STEPS, batch_size=8, latent_dim=4,
                threads=1, log_every=3, grid_every=1000, quality_every=6, checkpoint_every=2,
                mlp={"depth": 2, "width": 16}, dcgan={"features": 4},
            )
        )  # fmt: skip

    def __str__(self) -> str:
        labels = "labels" if self.conditional else "no labels"
        ranks = "1 rank" if self.ranks == 1 else f"{self.ranks} ranks"
        return f"{self.kind}, {self.net}, {labels}, {self.data}, {ranks}"


def cases() -> list[Case]:
    """All that can be trained: what is refused, several ranks for a few options, is left out."""
    every = itertools.product(
        KINDS, ("mlp", "dcgan"), (False, True), ("resident", "streamed"), (1, 2)
    )
    found = [Case(*one) for one in every]
    return [case for case in found if not impossible_pairs(Params(train=case.section()))]


def spread(count: int) -> list[Case]:
    """So many of all: of each kind in turn the next one, so that all values are soon seen."""
    by_kind = {kind: [case for case in cases() if case.kind == kind] for kind in KINDS}
    turns = itertools.count()
    chosen = []
    for kind in itertools.islice(itertools.cycle(by_kind), count):
        chosen.append(by_kind[kind][7 * next(turns) % len(by_kind[kind])])
    return chosen


def start(case: Case, dataset: PackedDataset, folder: Path) -> list[int]:
    """Fork the ranks of a training; their process numbers, the one that writes first."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    children = []
    for rank in range(case.ranks):
        child = os.fork()
        if not child:
            _train(case, dataset, folder, rank, port)
        children.append(child)
    return children


def _train(case: Case, dataset: PackedDataset, folder: Path, rank: int, port: int) -> None:
    """Be a rank of a training, and end this process."""
    group = {"RANK": rank, "WORLD_SIZE": case.ranks, "MASTER_ADDR": "127.0.0.1"}
    os.environ.update({key: str(value) for key, value in group.items()}, MASTER_PORT=str(port))
    place = folder if rank == 0 else folder.with_name(f"{folder.name}-rank{rank}")
    try:
        loop.train(Training(case.section(), dataset, place, NullRun("key")))
    except BaseException as error:
        # The rank that is left of a killed pair says so, too: it is told where it was not killed.
        (folder.parent / f"rank{rank}.txt").write_text(repr(error))
        os._exit(1)
    os._exit(0)


def finish(case: Case, dataset: PackedDataset, folder: Path) -> None:
    """Train, or go on, to the end."""
    for child in start(case, dataset, folder):
        _, status = os.waitpid(child, 0)
        if status:
            told = [path.read_text() for path in sorted(folder.parent.glob("rank*.txt"))]
            sys.exit(f"{case}: ended with {status}; see {folder}: {'; '.join(told)}")


def kill(case: Case, dataset: PackedDataset, folder: Path, step: int, dice: random.Random) -> bool:
    """Kill a training after this step's checkpoint; whether it was still at work."""
    children = start(case, dataset, folder)
    deadline = time.monotonic() + 120
    while not (folder / f"step-{step:08d}").exists() and time.monotonic() < deadline:
        time.sleep(0.0005)
    time.sleep(dice.uniform(0.0, 0.02))
    dice.shuffle(children)
    at_work = []
    for child in children:  # the rank that is left waits for the other, and is killed in that
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        at_work.append(os.WIFSIGNALED(status))
    shutil.rmtree(folder.with_name(f"{folder.name}-rank1"), ignore_errors=True)
    return at_work[0]


def contents(folder: Path) -> dict[str, bytes]:
    """What must not differ, by name: checkpoints and curves."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".safetensors", ".csv")
    }


def compare(case: Case, dataset: PackedDataset, folder: Path, kills: int, seed: int) -> int:
    """The kills of one case; ends the program, and leaves the folders, where a bit differs."""
    dice, killed = random.Random(f"{seed} {case}"), 0
    whole, again = folder / "whole", folder / "killed"
    code_identity.code_identity(case.section())  # found once, and known in each fork
    code_identity.nets_identity(case.section())
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    finish(case, dataset, whole)
    for step in sorted(dice.choices(range(2, LAST_KILLED + 1, 2), k=kills)):
        killed += kill(case, dataset, again, step, dice)
    for place in folder.glob("rank*.txt"):
        place.unlink()
    finish(case, dataset, again)
    first, second = contents(whole), contents(again)
    if first != second:
        differing = [name for name in first | second if first.get(name) != second.get(name)]
        sys.exit(f"{case}, seed {seed}: {', '.join(differing)} differ in {folder}")
    return killed


def main() -> None:
    prepared, folder, kills, seed, *count = sys.argv[1:]
    torch.set_num_threads(1)
    dataset = PackedDataset.open(Path(prepared))
    for case in spread(int(count[0])) if count else cases():
        killed = compare(case, dataset, Path(folder), int(kills), int(seed))
        print(f"{case}: killed {killed} times, every bit the same", flush=True)


if __name__ == "__main__":
    main()

"""For people: kill trainings for as long as you like. `make soak MINUTES=60`.

    python tests/faults/soak.py [MINUTES] [SEED]

Takes every case of the matrix in turn, in the order of a seed, and compares a training that is
killed ten times with an undisturbed one: checkpoints and curves must be equal in every bit. Ends at
the first that is not, leaving its folders, or when the time is up.
"""

import argparse
import itertools
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from monge.data.packed import PackedDataset
from monge.data.writer import PackedWriter

if TYPE_CHECKING:
    from tests.faults import kill_matrix
else:
    import kill_matrix

KILLS = 10


def prepare(folder):
    """Some hundred images of noise and stripes, 16x16 in colour, of two classes."""
    dice = np.random.default_rng(0)
    images = dice.integers(0, 256, (620, 3, 16, 16), dtype=np.uint8)
    images[::2, :, ::2] = 255
    labels = np.arange(620) % 2
    with PackedWriter(folder, (3, 16, 16), ["striped", "noise"]) as writer:
        writer.append("train", images[:320], labels[:320])
        writer.append("validation", images[320:], labels[320:])
        writer.finish()
    return PackedDataset.open(folder)


def main():
    """Go round until the time is up."""
    parser = argparse.ArgumentParser(prog="soak", description="Kill trainings, compare every bit.")
    parser.add_argument("minutes", type=float, nargs="?", default=60.0)
    parser.add_argument("seed", type=int, nargs="?", default=random.randrange(2**31))
    asked = parser.parse_args()
    minutes, seed = asked.minutes, asked.seed
    print(f"soak: {minutes:g} minutes, seed {seed}", flush=True)
    deadline = time.monotonic() + 60 * minutes
    kill_matrix.get_ready()
    folder = Path(tempfile.mkdtemp(prefix="monge-soak-"))
    dataset = prepare(folder / "prepared")
    cases, rounds, killed = kill_matrix.cases(), 0, 0
    random.Random(seed).shuffle(cases)
    for case in itertools.cycle(cases):
        if time.monotonic() > deadline:
            break
        kills = kill_matrix.compare(case, dataset, folder / "trainings", KILLS, seed + rounds)
        rounds, killed = rounds + 1, killed + kills
        print(f"{rounds} of {len(cases)}: {case}: killed {kills} times", flush=True)
    shutil.rmtree(folder)
    print(f"soak: {rounds} trainings killed {killed} times in all, every bit the same")


if __name__ == "__main__":
    main()

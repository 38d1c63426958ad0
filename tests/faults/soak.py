"""For people: kill trainings for as long as you like. `make soak MINUTES=60`.

    python tests/faults/soak.py [MINUTES] [SEED]

Takes every net and objective in turn, the images kept or streamed, and compares a training that is
killed 40 times with an undisturbed one: checkpoints and curves must be equal in every bit. Ends at
the first that is not, leaving its folders, or when the time is up.
"""

import itertools
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from monge.data.writer import PackedWriter

SCRIPT = Path(__file__).with_name("kill_training.py")
KILLS = 40


def prepare(folder):
    """A few hundred images of noise and stripes, 16x16 in colour."""
    dice = np.random.default_rng(0)
    images = dice.integers(0, 256, (400, 3, 16, 16), dtype=np.uint8)
    images[::2, :, ::2] = 255
    with PackedWriter(folder, (3, 16, 16), []) as writer:
        writer.append("train", images[:320], None)
        writer.append("validation", images[320:], None)
        writer.finish()


def run(prepared, folder, kills, seed, net, objective, data):
    """One training, killed so many times, left to finish at last."""
    command = [sys.executable, SCRIPT, prepared, folder, kills, seed, net, objective, data]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode or '"finished": true' not in done.stdout:
        sys.exit(f"{folder}: did not finish: {done.stdout[-500:]}{done.stderr[-2000:]}")
    return done.stdout.splitlines()[-1]


def contents(folder):
    """What must not differ, by name: checkpoints and tables, without the name of the run."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files
        if path.suffix in (".safetensors", ".csv")
    }


def main():
    """Go round until the time is up."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(2**31)
    print(f"soak: {minutes:g} minutes, seed {seed}", flush=True)
    deadline = time.monotonic() + 60 * minutes
    folder = Path(tempfile.mkdtemp(prefix="monge-soak-"))
    prepare(folder / "prepared")
    nets, objectives = ("mlp", "dcgan", "dcgan-plain"), ("wgan", "wgan-gp")
    rounds = 0
    for case in itertools.cycle(itertools.product(nets, objectives, ("resident", "streamed"))):
        if time.monotonic() > deadline:
            break
        whole, killed = folder / "whole", folder / "killed"
        run(folder / "prepared", whole, 0, seed, *case)
        told = run(folder / "prepared", killed, KILLS, seed + rounds, *case)
        if contents(whole) != contents(killed):
            sys.exit(f"{' '.join(case)}, seed {seed + rounds}: {whole} and {killed} differ")
        rounds += 1
        print(f"{rounds}: {' '.join(case)}: {told}", flush=True)
        shutil.rmtree(whole)
        shutil.rmtree(killed)
    shutil.rmtree(folder)
    print(f"soak: {rounds} trainings killed {KILLS} times each, every bit the same")


if __name__ == "__main__":
    main()

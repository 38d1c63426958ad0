"""Kill a small training again and again, and tell what is left. Run as a program.

    python tests/faults/kill_training.py PREPARED FOLDER KILLS SEED NET OBJECTIVE

torch is imported once; each attempt is a forked child that is SIGKILLed at a random moment, every
other time while it is writing a checkpoint, until there are so many kills, and one of them left a
checkpoint half written. Afterwards one attempt is left to finish. Prints a JSON line with the
number of kills and of those that hit a checkpoint being written.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from monge.data.packed import PackedDataset
from monge.params import TrainParams
from monge.tracking import NullRun
from monge.training import loop
from monge.training.context import Training
from monge.training.watch import quality

STEPS = {"mlp": 300, "dcgan": 120}


def parameters(net, objective):
    return TrainParams.model_validate(
        {
            "net": net, "objective": objective, "steps": STEPS[net], "batch_size": 8,
            "latent_dim": 4, "threads": 1, "log_every": 3, "grid_every": 1000,
            "checkpoint_every": 5, "keep_checkpoints": 2, "quality_every": 7,
            "mlp": {"depth": 2, "width": 32}, "dcgan": {"features": 4},
        }
    )  # fmt: skip


def best_step(net):
    """The look that is made the best, so far from the end that no rotation keeps its step."""
    return STEPS[net] // 14 * 7


class Looks(quality.Quality):
    """Measures as ever; all looks but one are made worse, whatever a processor's last bits say."""

    def _figure(self, state):
        return super()._figure(state) * (1.0 if state.step == best_step(self.train.net) else 1e6)


def start(params, dataset, folder):
    child = os.fork()
    if child:
        return child
    try:
        loop.Quality, quality.IMAGES = Looks, 200  # type: ignore[attr-defined]
        loop.train(Training(params, dataset, folder, NullRun("key")))
    except BaseException as error:
        print(repr(error), file=sys.stderr)
        os._exit(1)
    os._exit(0)


def wait_for_partial(folder, limit_s):
    """Until a checkpoint is being written; whether one was seen."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if any(name.startswith(".partial-") for name in os.listdir(folder)):
            return True
        time.sleep(0.0002)
    return False


def kill_once(params, dataset, folder, dice, mid_checkpoint):
    """Start, kill; (was it still running, was a checkpoint left half written)."""
    child = start(params, dataset, folder)
    if mid_checkpoint:
        while not folder.exists():
            time.sleep(0.001)
        wait_for_partial(folder, 5)
    else:
        time.sleep(dice.uniform(0.0, 0.25))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    half = folder.exists() and any(n.startswith(".partial-step") for n in os.listdir(folder))
    return os.WIFSIGNALED(status), half


def main():
    prepared, folder, kills, seed, net, objective = sys.argv[1:]
    params, dataset = parameters(net, objective), PackedDataset.open(Path(prepared))
    dice, killed, mid, was_running = random.Random(int(seed)), 0, 0, True
    while was_running and (killed < int(kills) or mid < min(1, int(kills))):
        was_running, half = kill_once(params, dataset, Path(folder), dice, killed % 2 == 1)
        killed += was_running
        mid += half
    child = start(params, dataset, Path(folder))
    _, status = os.waitpid(child, 0)
    print(json.dumps({"killed": killed, "mid_checkpoint": mid, "finished": status == 0}))


if __name__ == "__main__":
    main()

"""Protects: SIGKILL at any moment, also in the middle of a checkpoint, costs no bit."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from monge.training import quality
from tests.faults.kill_training import best_step

SCRIPT = Path(__file__).with_name("kill_training.py")


def run(prepared, folder, kills, net, objective):
    command = [sys.executable, SCRIPT, prepared, folder, str(kills), "0", net, objective]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["finished"], done.stderr
    return told


def checkpoints(folder):
    return {path.name: load_file(path / "tensors.safetensors") for path in folder.glob("step-*")}


@pytest.mark.parametrize(
    ("net", "objective", "kills"),
    [("mlp", "wgan-gp", 20), ("dcgan", "wgan", 6), ("mlp", "gan", 4), ("mlp", "rpgan", 4)],
)
def test_a_training_killed_many_times_ends_at_the_bits_of_an_undisturbed_one(
    packed_digits, tmp_path, net, objective, kills
):
    run(packed_digits, tmp_path / "whole", 0, net, objective)
    told = run(packed_digits, tmp_path / "killed", kills, net, objective)
    assert told["killed"] >= kills, "it was finished before it could be killed so often"
    assert told["mid_checkpoint"] >= 1
    for file in ("history.csv", "quality.csv"):
        whole, killed = ((tmp_path / name / file).read_text() for name in ("whole", "killed"))
        assert whole == killed
    whole, killed = (checkpoints(tmp_path / name) for name in ("whole", "killed"))
    assert whole.keys() == killed.keys()  # the last ones and the best
    for name in whole:
        assert whole[name].keys() == killed[name].keys()
        assert all(torch.equal(whole[name][key], killed[name][key]) for key in whole[name])
    best = quality.best(quality.read(tmp_path / "whole"))
    assert best is not None
    assert best.step == best_step(net)
    steps = sorted(int(name[5:]) for name in whole)
    assert steps[0] == best.step < steps[1] - 5  # only its being the best has kept it
    assert len(steps) == 3

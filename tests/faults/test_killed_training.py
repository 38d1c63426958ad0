"""Protects: SIGKILL at any moment, also in the middle of a checkpoint, costs no bit."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from monge.training.watch import quality
from tests.faults.kill_training import best_step
from tests.kinds import KINDS

SCRIPT = Path(__file__).with_name("kill_training.py")
MATRIX = Path(__file__).with_name("kill_matrix.py")


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
    [("mlp", "wgan-gp", 12), ("dcgan", "wgan", 6)],
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


@pytest.mark.timeout(600)
def test_every_method_is_killed_and_costs_no_bit_with_labels_and_ranks_and_streamed_images(
    packed_digits, tmp_path
):
    """Each method in every one of these ways; `make soak` takes each of its kinds through them."""
    command = [sys.executable, MATRIX, packed_digits, tmp_path / "trainings", 1, 0, "few"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = [line.partition(": killed ") for line in done.stdout.splitlines()]
    seen = [case.rsplit(", ", 5) for case, _, _ in told]
    assert {kind for kind, *_ in seen} == set(KINDS)
    methods = {options["objective"] for options in KINDS.values()}
    ways = methods, ("labels", "no labels"), ("resident", "streamed"), ("1 rank", "2 ranks")
    ways_seen = {(KINDS[kind]["objective"], *rest) for kind, _, *rest, _ in seen}
    assert ways_seen == set(itertools.product(*ways))
    for kind in KINDS:  # its turns do not fall on one value of something again and again
        own = [case for case in seen if case[0] == kind]
        assert len(own) < 4 or all(len({case[i] for case in own}) > 1 for i in (2, 3, 4)), kind
    nets_seen = {(KINDS[kind]["objective"], net) for kind, net, *_ in seen}
    assert nets_seen >= set(itertools.product(methods, ("mlp", "dcgan")))
    assert {net for _, net, *_ in seen} == {"mlp", "dcgan", "resnet"}
    assert {parts for *_, parts in seen} == {"1 part", "2 parts"}
    at_work = [times for _, _, times in told if times == "1 times, every bit the same"]
    assert len(at_work) > 0.9 * len(told), "they were finished before they could be killed"

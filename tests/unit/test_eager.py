"""Protects: a training does not wait for torch's compiler, and its steps are those of torch."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from monge.eager import step
from monge.objectives.optimizers import HistoricalAdam

OPTIMIZERS = {
    "rmsprop": lambda weights: torch.optim.RMSprop(weights, 5e-5),
    "adam": lambda weights: torch.optim.Adam(weights, 2e-4, (0.5, 0.999)),
    "historical": lambda weights: HistoricalAdam(weights, pull=0.1, lr=2e-4),
}

TRAININGS = """
import pathlib, sys
sys.path.insert(0, "tests")
from bits import bits
for number, how in enumerate(sys.argv[2:]):
    bits(pathlib.Path(sys.argv[1]) / str(number), *how.split())
print([name for name in sys.modules if name.startswith(("torch._dynamo", "torch._inductor"))])
"""


def test_no_training_imports_the_compiler(tmp_path):
    options = "train.objective=gan train.gan.historical_averaging=0.1"
    hows = "train.objective=wgan", "train.objective=wgan-gp train.net=dcgan", options
    done = subprocess.run(
        [sys.executable, "-c", TRAININGS, str(tmp_path), *hows],
        cwd=Path(__file__).parents[2], capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_is_torchs_step(name):
    torch.manual_seed(0)
    ours = torch.nn.Linear(5, 3)
    theirs = copy.deepcopy(ours)
    one, other = OPTIMIZERS[name](ours.parameters()), OPTIMIZERS[name](theirs.parameters())
    for _ in range(4):
        inputs = torch.randn(7, 5)
        for net, optimizer, take in ((ours, one, step), (theirs, other, type(other).step)):
            optimizer.zero_grad()
            torch.autograd.backward(net(inputs).square().mean())
            take(optimizer)
    assert torch.equal(ours.weight, theirs.weight)
    assert all(not weight.grad_fn for weight in ours.parameters())

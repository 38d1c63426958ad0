"""Protects: nothing in an iteration reads a number from the device, which a CUDA graph rests on.

Under torch's FakeTensorMode tensors have no numbers, and asking for one raises.
"""

from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from monge import nets, objectives
from monge.data.packed import PackedDataset
from monge.objectives import Noise
from monge.params import TrainParams
from monge.training.adaptation import EVERY, Adaptation
from monge.training.labels import Inputs
from monge.training.state import TrainingState
from tests.kinds import KINDS, of_kind

SIZES = {
    "latent_dim": 4, "mlp": {"depth": 2, "width": 16}, "dcgan": {"features": 4},
    "resnet": {"features": 3},
}  # fmt: skip


def iterate(train, classes):
    built = objectives.build(train)
    networks = {role: nets.build(role, train, (2, 16, 16), classes) for role in built.roles}
    optimizers, noise = built.optimizers(networks), Noise(0, 4, torch.device("cpu"))
    labels = torch.zeros(6, dtype=torch.int64) if classes else None
    reals = iter(lambda: (torch.zeros(6, 2, 16, 16), labels), None)
    for _ in range(3):  # the first makes the optimizers' state
        readings = built.iterate(networks, optimizers, reals, noise, 2)
    return readings


@pytest.mark.parametrize(("net", "classes"), [("mlp", 0), ("dcgan", 3), ("resnet", 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_an_iteration_reads_no_number(kind, net, classes):
    with FakeTensorMode():
        readings = iterate(TrainParams.model_validate(of_kind(kind, net=net, **SIZES)), classes)
        with pytest.raises(DataDependentOutputException):
            float(readings["generator_loss"])


def test_a_critic_that_classifies_reads_none_either():
    sizes = {**SIZES, "resnet": {"features": 3, "head": "classifier"}}
    train = TrainParams.model_validate({"net": "resnet", "objective": "wgan-gp", **sizes})
    with FakeTensorMode():
        assert "class_loss" in iterate(train, 3)


@pytest.mark.parametrize("conditional", [False, True])
def test_following_how_much_the_opponent_overfits_reads_none(packed_digits, conditional):
    """The images that it looks at are the only numbers, and are there before."""
    train = TrainParams.model_validate(
        of_kind("rpgan, adaptive", net="mlp", conditional=conditional, device="cpu", **SIZES)
    )
    dataset = PackedDataset.open(packed_digits)
    look = Adaptation(train, dataset, torch.device("cpu"))
    known = [*look._real, (look._draws, None), look._inputs]
    state = TrainingState.of(train, objectives.build(train), dataset, look.device)
    classes = 10 if conditional else 0
    with FakeTensorMode() as mode:
        fakes: Any = [
            tuple(t if t is None else mode.from_tensor(t) for t in pair) for pair in known
        ]
        look._real, (look._draws, _), look._inputs = fakes[:2], fakes[2], Inputs(*fakes[3])
        state.networks = {
            role: nets.build(role, train, dataset.image_shape, classes) for role in state.networks
        }
        state.noise.chance = torch.zeros(())
        for state.step in (EVERY, 2 * EVERY):
            look.follow(state)
        with pytest.raises(DataDependentOutputException):
            float(state.noise.chance)

"""Small networks of a method, and real batches, for the tests beside this file."""

import torch

from monge import nets, objectives
from monge.params import TrainParams

CPU = torch.device("cpu")
SHAPE = (2, 8, 8)
NORMED = (2, 16, 16)
"""The smallest images for which the critic of dcgan has a layer with a norm."""

SPECTRAL = {
    "mlp": {"depth": 2, "width": 16, "critic_norm": "spectral"},
    "dcgan": {"features": 4, "critic_norm": "spectral"},
}


def make(objective, net="mlp", classes=0, *, shape=SHAPE, **extra):
    """The parameters, the networks by role, and the objective."""
    train = TrainParams.model_validate(
        {
            "net": net, "objective": objective, "latent_dim": 4, "batch_size": 6,
            "mlp": {"depth": 2, "width": 16}, "dcgan": {"features": 4}, **extra,
        }
    )  # fmt: skip
    torch.manual_seed(1)
    built = objectives.build(train)
    return train, {role: nets.build(role, train, shape, classes) for role in built.roles}, built


def real_batches(classes=0, shape=SHAPE):
    """Six images at a time, and their labels where there are classes."""
    generator = torch.Generator().manual_seed(2)
    while True:
        images = torch.rand((6, *shape), generator=generator) * 2 - 1
        yield images, torch.randint(classes, (6,), generator=generator) if classes else None


def shape_for(net):
    """The images for a net, of which each layer is to be seen."""
    return NORMED if net == "dcgan" else SHAPE

"""Small networks of a method, and real batches, for the tests beside this file."""

import torch

from monge import nets, objectives
from monge.params import TrainParams

CPU = torch.device("cpu")
SHAPE = (2, 8, 8)


def make(objective, net="mlp", classes=0, **extra):
    """The parameters, the networks by role, and the objective."""
    train = TrainParams.model_validate(
        {
            "net": net, "objective": objective, "latent_dim": 4, "batch_size": 6,
            "mlp": {"depth": 2, "width": 16}, "dcgan": {"features": 4}, **extra,
        }
    )  # fmt: skip
    torch.manual_seed(1)
    built = objectives.build(train)
    return train, {role: nets.build(role, train, SHAPE, classes) for role in built.roles}, built


def real_batches(classes=0):
    """Six images at a time, and their labels where there are classes."""
    generator = torch.Generator().manual_seed(2)
    while True:
        images = torch.rand((6, *SHAPE), generator=generator) * 2 - 1
        yield images, torch.randint(classes, (6,), generator=generator) if classes else None

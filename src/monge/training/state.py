"""Everything that changes while a training runs, and its passage to and from named tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from monge import nets
from monge.data.budget import free_bytes
from monge.data.packed import PackedDataset
from monge.eager import leave_compiler_out
from monge.errors import InputError
from monge.objectives import Noise, Objective
from monge.params import NET_SECTIONS, TrainParams
from monge.training import labels
from monge.training.average import Average

AVERAGED = {"averaged": "generator", "averaged_encoder": "encoder"}
"""The averages' names in a checkpoint, and the role whose weights each follows: what ships."""


class TrainingState:
    """Networks, the averages of what ships, optimizers, random numbers, and the step they are at.

    `step` counts generator iterations done. What is not here (the order of the data, the learning
    rate) is a function of the step.
    """

    def __init__(
        self,
        train: TrainParams,
        objective: Objective,
        image_shape: tuple[int, int, int],
        device: torch.device,
        share: tuple[int, int] = (0, 1),
        classes: int = 0,
    ) -> None:
        _refuse_what_does_not_fit(train, objective, image_shape, device, classes)
        with torch.random.fork_rng(devices=[]):  # initial weights come from the seed alone
            torch.manual_seed(train.seed)
            built = {r: nets.build(r, train, image_shape, classes) for r in objective.roles}
        self.networks: dict[str, nn.Module] = {
            # Channels-last is what the convolutions of both CPUs and GPUs are fastest in.
            role: net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            for role, net in built.items()
        }
        self.averages = {
            name: Average(self.networks[role], train.average_half_life)
            for name, role in AVERAGED.items()
            if role in self.networks
        }
        leave_compiler_out()
        self.optimizers = objective.optimizers(self.networks)
        self.noise = Noise(train.seed, train.latent_dim, device, share)
        self.adapts = train.augment == "ada"
        if self.adapts:
            self.noise.chance.zero_()
        self.step = 0

    @classmethod
    def of(
        cls,
        train: TrainParams,
        objective: Objective,
        dataset: PackedDataset,
        device: torch.device,
        share: tuple[int, int] = (0, 1),
    ) -> TrainingState:
        """The state before the first step of a training on a dataset. Raises InputError."""
        classes = labels.count(train, dataset)
        return cls(train, objective, dataset.image_shape, device, share, classes)

    @property
    def weights(self) -> int:
        """Count the weights of all trained networks."""
        return sum(p.numel() for net in self.networks.values() for p in net.parameters())

    @property
    def average(self) -> Average:
        """The averaged generator."""
        return self.averages["averaged"]

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The networks by role, and their averages by what they are called in a checkpoint."""
        averages = {name: average.module for name, average in self.averages.items()}
        return {**self.networks, **averages}

    def advance(self, batch_size: int) -> None:
        """Count an iteration and let the averages follow."""
        self.step += 1
        self.follow(self.step * batch_size, batch_size)

    def follow(self, images_seen: int, batch_size: int) -> None:
        """Let the averages move towards the weights after a step over `batch_size` images."""
        for average in self.averages.values():
            average.update(images_seen, batch_size)

    def tensors(self) -> dict[str, Tensor]:
        """A snapshot on the CPU by name: `generator.net.0.weight`, `optimizer.critic.3.exp_avg`."""
        named = dict(self._module_tensors())
        for role, optimizer in self.optimizers.items():
            for index, values in optimizer.state_dict()["state"].items():
                for key, value in values.items():
                    named[f"optimizer.{role}.{index}.{key}"] = torch.as_tensor(value)
        named["noise"] = self.noise.generator.get_state()
        if self.adapts:
            named["noise.chance"] = self.noise.chance
        return {name: tensor.detach().to("cpu", copy=True) for name, tensor in named.items()}

    def restore(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Take up a snapshot. Raises KeyError or RuntimeError if it is of other networks."""
        with torch.no_grad():
            for name, tensor in self._module_tensors():
                if tensor.shape != tensors[name].shape:
                    raise RuntimeError(f"{name} has another shape")
                tensor.copy_(tensors[name])
        for role, optimizer in self.optimizers.items():
            self._restore_optimizer(optimizer, f"optimizer.{role}.", tensors)
        self.noise.generator.set_state(tensors["noise"])
        if self.adapts:
            self.noise.chance.copy_(tensors["noise.chance"])
        self.step = step

    def _module_tensors(self) -> Iterator[tuple[str, Tensor]]:
        for role, module in self.modules.items():
            for name, tensor in module.state_dict().items():
                yield f"{role}.{name}", tensor

    @staticmethod
    def _restore_optimizer(
        optimizer: torch.optim.Optimizer, prefix: str, tensors: Mapping[str, Tensor]
    ) -> None:
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith(prefix):
                index, key = name.removeprefix(prefix).split(".", 1)
                state.setdefault(int(index), {})[key] = tensor
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        for weight, values in optimizer.state.items():  # in the weights' layout, as they were
            for key, value in values.items():
                if value.shape == weight.shape:
                    values[key] = torch.empty_like(weight).copy_(value)


def _refuse_what_does_not_fit(
    train: TrainParams,
    objective: Objective,
    image_shape: tuple[int, int, int],
    device: torch.device,
    classes: int,
) -> None:
    """Raise InputError for networks whose weights alone exceed the memory: the kernel only kills.

    Four float32 a weight: itself, its gradient, and up to two moments of the optimizer.
    """
    with torch.device("meta"):
        built = [nets.build(role, train, image_shape, classes) for role in objective.roles]
    needed = 16 * sum(weight.numel() for net in built for weight in net.parameters())
    free = free_bytes(device)
    if needed > free:
        raise InputError(
            f"train.net: {train.net} of this size takes at least {needed / 2**30:,.1f} GiB to "
            f"train, and {free / 2**30:,.1f} GiB are free on the {device.type}. Make it narrower "
            f"or shallower (train.{NET_SECTIONS[train.net]})."
        )

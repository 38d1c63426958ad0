"""The layers of networks and the memory that training them takes, found without computing.

Everything here runs on torch's meta device, where tensors have a shape and no numbers.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from monge import nets, objectives
from monge.eager import leave_compiler_out, step
from monge.objectives import Noise, Objective, conditioned
from monge.params import TrainParams
from monge.training.state import AVERAGED

Networks = dict[str, nn.Module]

_HELD = {"parametrizations"}
"""The children that a layer has when its weight is computed from another (spectral norm)."""


@dataclass(frozen=True)
class Layer:
    """One layer as a batch passes through it: its output's shape without the batch's size."""

    name: str
    kind: str
    shape: tuple[int, ...]
    weights: int


@dataclass(frozen=True)
class Footprint:
    """Bytes that a training keeps on its device, and those of one checkpoint.

    `activations` is what an iteration adds at its peak: what backward needs, and what backward
    makes on its way. It is counted in float32 and without the libraries' own workspace.
    """

    weights: int
    gradients: int
    optimizers: int
    average: int
    activations: int
    checkpoint: int

    @property
    def total(self) -> int:
        """Bytes on the device, without the images."""
        return self.weights + self.gradients + self.optimizers + self.average + self.activations


def networks(train: TrainParams, image_shape: tuple[int, int, int], classes: int = 0) -> Networks:
    """The networks of a training by role, without numbers."""
    with torch.device("meta"):
        return {
            role: nets.build(role, train, image_shape, classes)
            for role in objectives.build(train).roles
        }


def layers(network: nn.Module, inputs: tuple[int, ...], classes: int = 0) -> list[Layer]:
    """The layers in the order they compute; `inputs` is an input's shape without the batch."""
    found: list[Layer] = []

    def note(name: str, module: nn.Module, output: Tensor) -> None:
        weights = sum(weight.numel() for weight in module.parameters())
        kind = type(module).__name__.removeprefix("Parametrized")
        found.append(Layer(name, kind, tuple(output.shape[1:]), weights))

    hooks = [
        module.register_forward_hook(lambda m, _, output, name=name: note(name, m, output))
        for name, module in network.named_modules()
        if "parametrizations" not in name and _computes(module)
    ]
    conditioned(network, torch.empty(2, *inputs, device="meta"), _meta_labels(2, classes))
    for hook in hooks:
        hook.remove()
    return found


def _computes(module: nn.Module) -> bool:
    """Tell whether it is a layer: what holds layers alone has no weights of its own."""
    own = next(module.parameters(recurse=False), None)
    return own is not None or set(dict(module.named_children())) <= _HELD


def footprint(train: TrainParams, image_shape: tuple[int, int, int], classes: int = 0) -> Footprint:
    """Add up what a training with these parameters takes."""
    built = networks(train, image_shape, classes)
    objective = objectives.build(train)
    sizes = {role: _bytes(net.state_dict().values()) for role, net in built.items()}
    weights = _bytes(weight for net in built.values() for weight in net.parameters())
    optimizers = _moments(objective) * weights
    averages = sum(sizes.get(role, 0) for role in AVERAGED.values())
    return Footprint(
        weights=sum(sizes.values()),
        gradients=weights,
        optimizers=optimizers,
        average=averages,
        activations=max(0, _peak(train, objective, built, image_shape, classes) - weights),
        checkpoint=sum(sizes.values()) + averages + optimizers,
    )


def _moments(objective: Objective) -> int:
    """Count the numbers as large as a weight that the optimizer keeps for each, by a step."""
    linear = nn.Linear(64, 64, bias=False, device="meta").to_empty(device="cpu")  # draws no numbers
    optimizers = objective.optimizers(dict.fromkeys(objective.roles, linear))
    linear.weight.grad = torch.zeros(64, 64)
    step(optimizers["generator"])
    kept = optimizers["generator"].state.values()
    numbers: list[int] = [v.numel() for values in kept for v in values.values()]
    return sum(numbers) // 64**2


def _peak(
    train: TrainParams,
    objective: Objective,
    built: Networks,
    image_shape: tuple[int, int, int],
    classes: int,
) -> int:
    """Bytes that two iterations allocate at their peak: gradients and activations."""
    images = torch.empty(train.batch_size, *image_shape, device="meta")
    real = (images, _meta_labels(train.batch_size, classes))
    leave_compiler_out()
    still = {role: torch.optim.SGD(net.parameters(), lr=0.0) for role, net in built.items()}
    with _Allocations() as allocations:
        for _ in range(2):  # the second finds the first one's gradients
            objective.iterate(
                built, still, itertools.repeat(real), _MetaNoise(train.latent_dim), batches=1
            )
    return int(allocations.peak)


def _meta_labels(n: int, classes: int) -> Tensor | None:
    return torch.empty(n, dtype=torch.int64, device="meta") if classes else None


class _MetaNoise(Noise):
    """Random numbers without numbers."""

    def __init__(self, latent_dim: int) -> None:
        self.latent_dim = latent_dim
        self.progress = torch.zeros((), device="meta")
        self.chance = torch.ones((), device="meta")

    def normal(self, n: int, *shape: int) -> Tensor:
        return torch.empty(n, *shape, device="meta")

    uniform = normal


class _Allocations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of what is allocated while entered and still alive."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._seen: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = {id(t.untyped_storage()) for t in _tensors((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            storage = tensor.untyped_storage()
            if id(storage) not in given and storage not in self._seen:
                self._seen.add(storage)
                self.now += storage.nbytes()
                weakref.finalize(storage, self._free, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return result

    def _free(self, size_bytes: int) -> None:
        self.now -= size_bytes


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

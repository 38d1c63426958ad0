"""Unrolling: the opponent as it will be some steps from now (Metz et al. 2017, section 2.2).

The generator's gradient goes through these steps, so that it counts how the opponent will answer.
They are steps of the opponent's own Adam, from its own moments, each on the same images, and what
follows its weights (a spectral norm's vectors) does so before each, where no gradient goes through
it. The opponent itself, its buffers and its optimizer stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from monge.objectives.objective import Follows

EPS = 1e-8
"""Adam's, as torch has it."""


class Ahead:
    """A network with other weights than its own, which keep their graph, and other buffers."""

    def __init__(
        self, network: nn.Module, weights: Mapping[str, Tensor], buffers: Mapping[str, Tensor]
    ) -> None:
        self.network, self.weights, self.buffers = network, dict(weights), dict(buffers)

    def __call__(self, *inputs: Tensor) -> Tensor:
        scores: Tensor = self._call("__call__", *inputs)
        return scores

    def features(self, images: Tensor) -> Tensor:
        """The last hidden layer, [n, k]."""
        features: Tensor = self._call("features", images)
        return features

    def follow(self) -> None:
        """Before a step: what follows the network's weights follows these."""
        if isinstance(self.network, Follows):
            self._call("follow")

    def _call(self, method: str, *inputs: Tensor) -> Any:
        tensors = {**self.weights, **self.buffers}
        named = {f"network.{name}": tensor for name, tensor in tensors.items()}
        return functional_call(_Method(self.network, method), named, inputs)


class _Method(nn.Module):
    """A network's method as a forward pass, which is what other weights can be given to."""

    def __init__(self, network: nn.Module, method: str) -> None:
        super().__init__()
        self.network, self.method = network, method

    def forward(self, *inputs: Tensor) -> Any:
        return getattr(self.network, self.method)(*inputs)


def ahead(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_of: Callable[[Ahead], Tensor],
    steps: int,
    *,
    betas: tuple[float, float],
    pull: float = 0.0,
) -> Ahead:
    """The network after `steps` of its optimizer, an Adam with these betas, on `loss_of` it.

    `pull` is the weight of its historical averaging, if it has any.
    """
    rate = optimizer.param_groups[0]["lr"]
    weights = {name: w.detach().requires_grad_() for name, w in network.named_parameters()}
    moments = {
        name: _Moments(w, optimizer.state.get(w, {}), betas, pull)
        for name, w in network.named_parameters()
    }
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    for _ in range(steps):
        later = Ahead(network, weights, buffers)
        later.follow()
        loss = loss_of(later)
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        weights = {
            name: moments[name].step(weight, gradient, rate)
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        }
    return Ahead(network, weights, buffers)


class _Moments:
    """Adam's memory of one weight, of which every number keeps its graph."""

    def __init__(
        self,
        weight: Tensor,
        kept: Mapping[str, Tensor],
        betas: tuple[float, float],
        pull: float,
    ) -> None:
        nothing = torch.zeros_like(weight)
        self.betas, self.pull = betas, pull
        self.first = kept.get("exp_avg", nothing)
        self.second = kept.get("exp_avg_sq", nothing)
        done = kept.get("step", torch.zeros((), device=weight.device))
        self.done = done.double()  # 1 - 0.999 ** step has few digits in float32
        self.mean = kept.get("mean")

    def step(self, weight: Tensor, gradient: Tensor, rate: Tensor | float) -> Tensor:
        """The weight after a step, by Kingma and Ba 2015, algorithm 1."""
        b1, b2 = self.betas
        if self.pull and self.mean is not None:
            gradient = gradient + 2.0 * self.pull * (weight - self.mean)
        self.done = self.done + 1
        self.first = b1 * self.first + (1.0 - b1) * gradient
        self.second = b2 * self.second + (1.0 - b2) * gradient.square()
        scale = _root(self.second) / (1.0 - b2**self.done).sqrt() + EPS
        later = weight - rate / (1.0 - b1**self.done) * self.first / scale
        if self.pull:
            mean = later if self.mean is None else self.mean
            self.mean = mean + (later - mean) / self.done
        return later


def _root(second: Tensor) -> Tensor:
    """The square root; where no gradient has ever come, with a derivative of 0 instead of none."""
    some = second > 0
    return torch.where(some, torch.where(some, second, 1.0).sqrt(), 0.0)

"""Unrolling: the opponent as it will be some steps from now (Metz et al. 2017, section 2.2).

The generator's gradient goes through these steps, so that it counts how the opponent will answer.
They are steps of the opponent's own Adam, from its own moments, each on the same images. The
opponent itself and its optimizer stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

EPS = 1e-8
"""Adam's, as torch has it."""


class Ahead:
    """A network with other weights than its own, which keep their graph."""

    def __init__(self, network: nn.Module, weights: Mapping[str, Tensor]) -> None:
        self.network, self.weights = network, dict(weights)

    def __call__(self, *inputs: Tensor) -> Tensor:
        scores: Tensor = functional_call(self.network, self.weights, inputs)
        return scores

    def features(self, images: Tensor) -> Tensor:
        """The last hidden layer, [n, k]."""
        named = {f"network.{name}": weight for name, weight in self.weights.items()}
        features: Tensor = functional_call(_Features(self.network), named, (images,))
        return features


class _Features(nn.Module):
    """A network's `features` as a forward pass, which is what other weights can be given to."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network.features(images)  # type: ignore[operator]
        return features


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
    for _ in range(steps):
        loss = loss_of(Ahead(network, weights))
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        weights = {
            name: moments[name].step(weight, gradient, rate)
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        }
    return Ahead(network, weights)


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

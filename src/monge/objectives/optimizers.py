"""Hands optimizers their learning rate: a number, or on a GPU a tensor that graphs can read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from monge.eager import step
from monge.objectives.objective import Networks


def rate(network: nn.Module, learning_rate: float) -> dict[str, Any]:
    """Arguments for an optimizer of the network's weights.

    A recorded graph replays the numbers it was recorded with, so on a GPU the rate and the
    optimizer's counters are kept in tensors there.
    """
    device = next(network.parameters()).device
    if device.type == "cpu":
        return {"lr": learning_rate}
    return {"lr": torch.tensor(learning_rate, device=device), "capturable": True}


def adam(
    networks: Networks, rates: Mapping[str, float], betas: tuple[float, float]
) -> dict[str, torch.optim.Optimizer]:
    """An Adam for each role's network, at the role's rate."""
    return {
        role: torch.optim.Adam(
            networks[role].parameters(), **rate(networks[role], rates[role]),
            betas=betas, fused=True,
        )
        for role in rates
    }  # fmt: skip


class HistoricalAdam(torch.optim.Adam):
    """Adam whose cost has `pull` * |w - mean of w after every step so far|^2 for each weight w.

    Salimans et al. 2016, section 3.3. The mean is kept beside the moments, one more number as
    large as the weight.
    """

    def __init__(self, weights: Iterable[nn.Parameter], pull: float, **rest: Any) -> None:
        super().__init__(weights, **rest)
        self.pull = pull

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """A step of Adam with the pull in its gradients; the mean follows."""
        weights = [w for group in self.param_groups for w in group["params"] if w.grad is not None]
        for weight in weights:
            if "mean" in self.state[weight]:
                weight.grad.add_(weight - self.state[weight]["mean"], alpha=2.0 * self.pull)
        step(self, torch.optim.Adam)
        for weight in weights:
            kept = self.state[weight]
            mean = kept.setdefault("mean", weight.clone())
            mean.add_((weight - mean) / kept["step"])

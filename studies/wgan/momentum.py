"""Momentum in the critic, under clipping (section 4).

The paper reports that training gets unstable at times when a momentum-based optimizer such as Adam
with β1 > 0 moves the critic, or when learning rates are high. As the loss blew up and samples got
worse, the cosine between Adam's step and the gradient usually turned negative, and nowhere else;
since the critic's loss is nonstationary, momentum seems to do worse. RMSProp, which has none, is
what the authors went on with.

Here critic and generator learn a ring of eight Gaussians with RMSProp, with Adam without momentum
(β1 = 0) and with it (β1 = 0.9), on both sides and at one high rate, 0.002. A step without momentum
is the gradient with each of its entries made larger or smaller, so that its cosine with the
gradient is positive by construction; with momentum it need not be. The cosine is that of the
optimizer's own step, before weights are clipped. What is asked is whether momentum makes the
training worse, and whether its step then turns against the gradient. Data, networks (3 layers of 64
units, c = 0.08, which is to 64 units what 0.01 is to 512) and rates are not in the paper.

Training is worse with momentum from the start. Steps against the gradient come later: none to one
in a hundred in the 150 iterations of the quick size, about one in twelve at the default size for
two seeds of three, and none for the third, whose samples get as bad all the same. Here the cosine
is a sign of the trouble, rather than what begins it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from monge.metrics.transport import wasserstein1
from monge.params import TrainParams
from studies import drawing, toy_data
from studies.bare_loop import Training, perceptron
from studies.study import Conditions, Finding, Number, Study

STUDY = Study(
    title="Momentum in a clipped critic",
    source="Arjovsky et al. 2017, section 4",
    claim="With momentum the critic's training gets unstable and samples worse; its steps may then "
    "turn against the gradient.",
    seconds=(5, 40),
)

RATE = 2e-3


class Cosines:
    """Collects, for each step of an optimizer, the cosine with the way down, -gradient."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.of_steps: list[float] = []
        self.weights = [w for group in optimizer.param_groups for w in group["params"]]

    def taken(self, before: list[torch.Tensor]) -> None:
        """Note the step from `before` to the weights as they are."""
        pairs = zip(self.weights, before, strict=True)
        step = torch.cat([(w.detach() - old).flatten() for w, old in pairs])
        down = torch.cat([-w.grad.flatten() for w in self.weights])
        self.of_steps.append(torch.nn.functional.cosine_similarity(step, down, dim=0).item())


class WatchedRmsProp(torch.optim.RMSprop):
    """RMSProp, each of whose steps is compared with the gradient."""

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """A step as ever, and its cosine."""
        _watched(self, super().step)


class WatchedAdam(torch.optim.Adam):
    """Adam, each of whose steps is compared with the gradient."""

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """A step as ever, and its cosine."""
        _watched(self, super().step)


def _watched(optimizer: Any, step: Any) -> None:
    if not hasattr(optimizer, "cosines"):
        optimizer.cosines = Cosines(optimizer)
    before = [w.detach().clone() for w in optimizer.cosines.weights]
    step()
    optimizer.cosines.taken(before)


@dataclass
class Run:
    """The record of a training: a cosine a critic step, and the distance of samples over time."""

    cosines: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    at: list[int] = field(default_factory=list)
    distance: list[float] = field(default_factory=list)

    @property
    def late_distance(self) -> float:
        """The mean of the second half of the training."""
        return float(np.mean(self.distance[len(self.distance) // 2 :]))


def trained(momentum: float | None, at: Conditions) -> Run:
    """Both networks by Adam with this β1, or by RMSProp where it is None."""
    torch.manual_seed(at.seed)
    _, by_seed = toy_data.ring(2.0 / 1.414, 0.02 / 1.414)
    train = TrainParams.model_validate(
        {"latent_dim": 2, "batch_size": 64, "objective": "wgan",
         "wgan": {"clip": 0.08, "learning_rate": RATE}}
    )  # fmt: skip
    networks = {
        "generator": perceptron([2, 64, 64, 64, 2]),
        "critic": perceptron([2, 64, 64, 64, 1]),
    }
    training = Training(train, networks, by_seed(at.seed), at.seed)
    for role, network in training.networks.items():
        weights = network.parameters()
        training.optimizers[role] = (
            WatchedRmsProp(weights, lr=RATE)
            if momentum is None
            else WatchedAdam(weights, lr=RATE, betas=(momentum, 0.999))
        )
    run, count = Run(), at.at(150, 600)
    held_out = by_seed(at.seed + 1000)(256).numpy()
    for step in at.steps(count):
        training.iterate()
        if (step + 1) % (count // 10) == 0:
            run.at.append(step + 1)
            run.distance.append(wasserstein1(training.samples(256).numpy(), held_out))
    watched: Any = training.optimizers["critic"]
    run.cosines = np.array(watched.cosines.of_steps)
    return run


def study(at: Conditions) -> Finding:
    """Train with and without momentum, and compare steps with gradients and samples with data."""
    runs = {
        "RMSProp": trained(None, at),
        "Adam, β1 = 0": trained(0.0, at),
        "Adam, β1 = 0.9": trained(0.9, at),
    }
    plain = [runs["RMSProp"], runs["Adam, β1 = 0"]]
    heavy = runs["Adam, β1 = 0.9"]
    least = min(float(run.cosines.min()) for run in plain)
    return Finding(
        [
            Number("least cosine of step and gradient without momentum", least, 0.0, 1.0),
            Number("share of steps against the gradient with momentum",
                   float((heavy.cosines < 0.0).mean()), at.at(0.0, 0.001), 0.5, "turned negative"),
            Number("distance of samples from data with momentum, over that with RMSProp",
                   heavy.late_distance / plain[0].late_distance, 1.2, 20.0, "samples got worse"),
            Number("the same over Adam without momentum",
                   heavy.late_distance / plain[1].late_distance, 1.2, 20.0),
        ],
        drawn(runs),
    )  # fmt: skip


def drawn(runs: dict[str, Run]) -> Figure:
    """Cosines over the critic's steps, and the distance of samples over the generator's."""
    figure, (cosines, distances) = drawing.panels(2, columns=2)
    for name, run in runs.items():
        cosines.plot(np.arange(1, len(run.cosines) + 1), run.cosines, ".", markersize=2, label=name)
        distances.plot(run.at, run.distance, "o-", markersize=3, label=name)
    cosines.axhline(0.0, color="#bbbbbb", linewidth=0.8, zorder=0)
    cosines.set_ylim(-1.0, 1.6)
    drawing.named(cosines, "Step and gradient", "critic step", "cosine", loc="upper right",
                  markerscale=4)  # fmt: skip
    distances.set_ylim(bottom=0.0)
    drawing.named(distances, "Samples and data", "iteration", "Wasserstein distance", loc="best")
    return figure

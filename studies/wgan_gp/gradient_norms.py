"""Gradients of a deep critic explode or vanish under clipping, and weights pile up (figure 1b).

Generator and critic are perceptrons of 12 layers with ReLU and no normalisation, trained on the
Swiss roll. The norm of the critic's loss by the activations of each layer grows or falls from the
last layer to the first by a factor a layer. Under clipping it is c that sets this factor: where c
is too large for the width gradients explode, where it is too small they vanish, and over 12 layers
there is hardly a place between. Under the penalty they do neither. And clipping pushes the weights
towards the two ends of their range, since the best critic that the box allows has nearly all of
its weights at -c or c, while the penalty lets them spread (section 3.2).

A slope is that of the natural logarithm of the norm over layers, from the last to the first; ±1/4
makes a factor of 20 over 12 layers, and is where the words explode and vanish begin here. Width,
rates and length are not in the paper. Here layers have 64 units and λ is 10. Weights begin as in
its authors' code (He), and under clipping uniformly in [-c, c], so that those at the ends have
been pushed there. Clipping's rate is c / 200, the WGAN paper's ratio of the two, and the penalty's
is 0.001.

At c = 0.01 and 0.001 and this width, the gradient loses so much in 12 layers that the critic is
dead from the start: RMSProp, whose ε is 1e-8, does not move its weights. So it is the critic of
c = 0.1 whose weights are looked at, where the paper has a histogram of c = 0.01.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from monge.objectives.wasserstein import wasserstein_estimate
from monge.objectives.watch import HeldOut
from monge.objectives.wgan import WganWatch
from monge.params import TrainParams
from studies import drawing, toy_data
from studies.bare_loop import Training, perceptron
from studies.study import Conditions, Finding, Number, Study

STUDY = Study(
    title="Gradient norms by layer, and weights, of a deep critic",
    source="Gulrajani et al. 2017, figure 1b",
    claim="Over 12 layers gradients explode or vanish under clipping, and not under the penalty; "
    "clipping pushes weights to both ends.",
    seconds=(5, 20),
)

Floats = NDArray[np.float64]
LAYERS, WIDTH = 12, 64
CLIPS = (0.1, 0.01, 0.001)
STEEP = 0.25
"""A slope from which on gradients explode, or below its negative vanish."""


@dataclass(frozen=True)
class Critic:
    """The record of a trained critic: norms by layer, the last first, and all of its weights."""

    norms: Floats
    weights: Floats
    at_ends: float = 0.0

    @property
    def slope(self) -> float:
        """The slope of the log norm, by a layer further from the loss."""
        heights = np.log(np.maximum(self.norms, np.finfo(np.float32).tiny))
        return float(np.polyfit(np.arange(len(heights)), heights, 1)[0])


def deep(outputs: int, clip: float) -> nn.Module:
    """A network of 12 layers from a plane; weights by He, or uniform in the range of a clip."""
    network = perceptron([2] + [WIDTH] * (LAYERS - 1) + [outputs])
    for layer in network.modules():
        if isinstance(layer, nn.Linear) and clip:
            nn.init.uniform_(layer.weight, -clip, clip)
            nn.init.uniform_(layer.bias, -clip, clip)
        elif isinstance(layer, nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return network


def norms_by_layer(critic: nn.Module, real: Tensor, fake: Tensor) -> Floats:
    """|d loss / d activations| after each layer and of the points themselves, the last first."""
    seen = torch.cat([real, fake]).requires_grad_()
    activations = [seen]
    for layer in critic.children():
        seen = layer(seen)
        if isinstance(layer, nn.ReLU):
            activations.append(seen)
    loss = -wasserstein_estimate(seen[: len(real)], seen[len(real) :])
    gradients = torch.autograd.grad(loss, [*activations, seen])
    return np.array([gradient.double().norm().item() for gradient in reversed(gradients)])


def trained(clip: float, at: Conditions) -> Critic:
    """Both networks trained by clipping to ±clip, or with the penalty where clip is 0."""
    torch.manual_seed(at.seed)
    method = (
        {"objective": "wgan", "wgan": {"clip": clip, "learning_rate": clip / 200.0}}
        if clip
        else {"objective": "wgan-gp", "wgan-gp": {"learning_rate": 1e-3}}
    )
    train = TrainParams.model_validate({"latent_dim": 2, "batch_size": 64, **method})
    networks = {"generator": deep(2, 0.0), "critic": deep(1, clip)}
    draw = toy_data.swiss_roll(at.seed)
    training = Training(train, networks, draw, at.seed)
    for _ in at.steps(at.at(70, 300)):
        training.iterate()
    real, fake = draw(256), training.samples(256)
    critic = networks["critic"]
    weights = torch.cat([weight.detach().flatten() for weight in critic.parameters()])
    at_ends = 0.0
    if clip:
        held_out = HeldOut(real, None, torch.randn(256, 2))
        at_ends = WganWatch(train).measure(networks, held_out)["weights_at_clip"].item()
    return Critic(norms_by_layer(critic, real, fake), weights.double().numpy(), at_ends)


def study(at: Conditions) -> Finding:
    """Train four pairs, and look at the gradients and the weights of their critics."""
    clipped = {clip: trained(clip, at) for clip in CLIPS}
    penalised = trained(0.0, at)
    sizes = np.abs(penalised.weights)
    at_largest = float((sizes >= 0.99 * sizes.max()).mean())
    never = 100.0  # more than float32 has room for in 12 layers
    return Finding(
        [
            Number("slope of the log norm over layers, c = 0.1", clipped[0.1].slope, STEEP, never,
                   "explodes"),
            Number("the same, c = 0.01", clipped[0.01].slope, -never, -STEEP, "vanishes"),
            Number("the same, c = 0.001", clipped[0.001].slope, -never, -STEEP, "vanishes"),
            Number("the same, penalty", penalised.slope, -STEEP, STEEP, "neither"),
            # Uniform weights, as they were at the start, have 1% at the ends: ten times as many.
            Number("share of the weights within 1% of ±c, c = 0.1", clipped[0.1].at_ends, 0.1,
                   1.0, "pushed towards two values"),
            Number("share of the weights within 1% of the largest, penalty", at_largest, 0.0, 0.01,
                   "spread"),
        ],
        drawn(clipped, penalised),
    )  # fmt: skip


def drawn(clipped: dict[float, Critic], penalised: Critic) -> Figure:
    """The norms over layers, and the weights of two critics."""
    figure, (norms, of_clipped, of_penalised) = drawing.panels(3, columns=3, height=0.95)
    layers = np.arange(LAYERS + 1, 0, -1)
    norms.semilogy(layers, penalised.norms, "o-", markersize=3, label="gradient penalty")
    for clip, critic in clipped.items():
        norms.semilogy(layers, critic.norms, "o-", markersize=3, label=f"clipping, c = {clip:g}")
    norms.invert_xaxis()
    drawing.named(norms, "Gradient by activations", "layer, the last at the left",
                  "norm", loc="lower left")  # fmt: skip
    for axes, critic, shown, colour, title in (
        (of_clipped, clipped[0.1], (-0.11, 0.11), 1, "Weights, clipping at 0.1"),
        (of_penalised, penalised, (-0.6, 0.6), 0, "Weights, gradient penalty"),
    ):
        axes.hist(critic.weights, bins=61, range=shown, color=drawing.COLOURS[colour])
        axes.set_yticks([])
        drawing.named(axes, title, "weight", "how many")
    return figure

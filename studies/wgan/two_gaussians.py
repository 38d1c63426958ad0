"""A discriminator and a critic, each trained to optimality on two Gaussians (figure 2).

The discriminator tells real from fake almost everywhere, and where it is sure its value is flat:
a generator that stands there is told nothing. The critic's values grow along the line, with a
gradient that is clean everywhere. Means, deviations, networks and optimizers are not in the paper;
here the two are N(-2, 0.5²) and N(2, 0.5²), and the critic is held by the penalty (Gulrajani et
al. 2017, λ = 10) and, in the paper's way, by clipping.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from monge.params import TrainParams
from studies import drawing
from studies.bare_loop import Training, perceptron
from studies.study import Conditions, Finding, Number, Study

STUDY = Study(
    title="Discriminator and critic at their best on two Gaussians",
    source="Arjovsky et al. 2017, figure 2",
    claim="The gradient of the best discriminator vanishes on most of the line, that of the "
    "critic nowhere.",
    seconds=(15, 60),
)

REAL, FAKE, DEVIATION = -2.0, 2.0, 0.5
FLAT = 1e-3
"""A gradient of less than this share of the largest one tells a generator nothing."""


class Gaussian(nn.Module):
    """Latents [n, 1] to points [n, 1] of N(mean, deviation²): a generator that stands still."""

    def __init__(self, mean: float, deviation: float) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(mean))
        self.deviation = deviation

    def forward(self, latents: Tensor) -> Tensor:
        return self.mean + self.deviation * latents


def values(opponent: nn.Module, line: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scores along the line [n, 1], and their gradient, each [n]."""
    at = line.clone().requires_grad_()
    scores = opponent(at)
    (gradient,) = torch.autograd.grad(scores.sum(), at)
    return scores.detach().numpy(), gradient[:, 0].numpy()


def trained(section: dict[str, object], steps: int, at: Conditions) -> nn.Module:
    """The opponent of a method after so many steps against the generator that stands still."""
    torch.manual_seed(at.seed)
    train = TrainParams.model_validate({"latent_dim": 1, "batch_size": 256, **section})
    dice = torch.Generator().manual_seed(at.seed)
    role = "discriminator" if train.objective == "gan" else "critic"
    networks = {"generator": Gaussian(FAKE, DEVIATION), role: perceptron([1, 64, 64, 1], nn.Tanh)}

    def real(n: int) -> Tensor:
        return REAL + DEVIATION * torch.randn(n, 1, generator=dice)

    training = Training(train, networks, real, at.seed)
    for _ in at.steps(steps):
        training.opponent_step()
    return training.networks[role]


def study(at: Conditions) -> Finding:
    """Train all three, and see on which share of the line each has no gradient to give."""
    steps = at.at(600, 4000)
    line = torch.linspace(-4.0, 4.0, 801)[:, None]
    opponents = {
        "discriminator": trained({"objective": "gan", "gan": {"learning_rate": 2e-3}}, steps, at),
        "critic, penalty": trained({"objective": "wgan-gp", "wgan-gp": {"learning_rate": 2e-3}},
                                   steps, at),
        "critic, clipping": trained({"objective": "wgan", "wgan": {"learning_rate": 5e-4,
                                     "clip": 0.05}}, steps, at),
    }  # fmt: skip
    figure, (densities, of_all) = drawing.panels(2, columns=2)
    x = line[:, 0].numpy()
    for mean, name in ((REAL, "real"), (FAKE, "fake")):
        densities.plot(x, np.exp(-(((x - mean) / DEVIATION) ** 2) / 2.0), label=name)
    drawing.named(densities, "Real and fake", "x", "density, scaled")
    flat = {}
    for name, opponent in opponents.items():
        scores, gradient = values(opponent, line)
        if name == "discriminator":  # D(x), as a generator of the original cost sees it
            d = 1.0 / (1.0 + np.exp(-scores.astype(float)))
            scores, gradient = d, d * (1.0 - d) * gradient
        steepness = np.abs(gradient) / np.abs(gradient).max()
        flat[name] = float((steepness < FLAT).mean())
        scaled = scores - scores.min()
        of_all.plot(x, scaled / scaled.max(), label=name)
    drawing.named(of_all, "At their best", "x", "value, scaled to [0, 1]")
    paper = "vanishing gradients in regular GAN"
    return Finding(
        [
            Number("share of the line without a gradient, discriminator", flat["discriminator"],
                   0.3, 1.0, paper),
            Number("the same, critic with penalty", flat["critic, penalty"], 0.0, 0.05,
                   "a clean gradient everywhere"),
            Number("the same, critic with clipping", flat["critic, clipping"], 0.0, 0.05,
                   "a clean gradient everywhere"),
        ],
        figure,
    )  # fmt: skip

"""Distances between two parallel lines (example 1, figure 1).

Let Z be uniform on [0, 1], P0 the law of (0, Z) and Pθ that of (θ, Z): two segments of the plane
that lie a distance θ apart. They share no point unless θ = 0, and so

    W(P0, Pθ) = |θ|,    JS = log 2,    KL = +∞,    TV = 1    for θ ≠ 0, and all are 0 at θ = 0.

Only W tells a generator, whose only parameter is θ, in which direction to go.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from monge.metrics.divergences import jensen_shannon, kullback_leibler, total_variation
from monge.metrics.transport import wasserstein1
from monge.objectives.gan import cross_entropy, jensen_shannon_estimate
from studies import drawing
from studies.bare_loop import perceptron
from studies.study import Conditions, Finding, Number, Study

STUDY = Study(
    title="Distances over θ between two parallel lines",
    source="Arjovsky et al. 2017, example 1 and figure 1",
    claim="The earth mover's distance is |θ|; JS, KL and total variation leap at 0 and are flat "
    "elsewhere.",
    seconds=(10, 40),
)

Points = NDArray[np.float64]


def line(theta: float, n: int, dice: np.random.Generator) -> Points:
    """n points of Pθ, [n, 2]."""
    return np.stack([np.full(n, theta), dice.random(n)], axis=1)


def on_a_grid(theta: float, cells: int) -> tuple[Points, Points]:
    """P0 and Pθ as shares of the columns of cells that [-1, 1] is cut into, each [cells]."""
    edges = np.linspace(-1.0 - 1.0 / cells, 1.0 + 1.0 / cells, cells + 1)
    shares = [np.histogram([place], edges)[0].astype(float) for place in (0.0, theta)]
    return shares[0], shares[1]


def by_discriminator(theta: float, at: Conditions) -> float:
    """JS as a discriminator finds it that is trained to tell the two apart (figure 4's estimate).

    log 2 - L / 2 at the least cross entropy L that it came to, from below.
    """
    torch.manual_seed(at.seed)
    dice = at.dice()
    discriminator = perceptron([2, 64, 64, 1])
    optimizer = torch.optim.Adam(discriminator.parameters(), 5e-3)
    estimates = []
    for _ in range(at.at(150, 600)):
        real, fake = (
            torch.as_tensor(line(t, 256, dice), dtype=torch.float32) for t in (0.0, theta)
        )
        scores = discriminator(real), discriminator(fake)
        optimizer.zero_grad()
        torch.autograd.backward(cross_entropy(*scores))
        optimizer.step()
        estimates.append(jensen_shannon_estimate(*scores).item())
    return float(np.mean(estimates[-20:]))


def study(at: Conditions) -> Finding:
    """Compute each distance over θ by its formula, from samples, and JS by a trained network."""
    dice = at.dice()
    thetas = np.round(np.linspace(-1.0, 1.0, at.at(21, 41)), 10)
    n = at.at(200, 1000)
    moved = np.array([wasserstein1(line(0.0, n, dice), line(t, n, dice)) for t in thetas])
    discrete = [on_a_grid(t, 401) for t in thetas]
    js = np.array([jensen_shannon(p, q) for p, q in discrete])
    kl = np.array([kullback_leibler(p, q) for p, q in discrete])
    tv = np.array([total_variation(p, q) for p, q in discrete])
    seen_at = (0.0, 0.1, 0.25, 0.5, 1.0)
    learned = [by_discriminator(seen_at[i], at) for i in at.steps(len(seen_at))]

    away = thetas != 0.0
    slopes = np.diff(moved[thetas >= 0.0]) / np.diff(thetas[thetas >= 0.0])
    figure, (left, right) = drawing.panels(2, columns=2)
    left.plot(thetas, moved, ".", label="from samples")
    left.plot(thetas, np.abs(thetas), "-", label="|θ|")
    drawing.named(left, "Earth mover's distance", "θ", "W(P0, Pθ)")
    right.plot(thetas[away], js[away], "-", label="JS, from shares")
    right.plot([0.0], [js[~away][0]], "o", color=drawing.COLOURS[0])
    right.plot(seen_at, learned, "x", label="JS, by a trained discriminator")
    right.plot(thetas[away], tv[away], "-", label="total variation")
    right.plot([0.0], [0.0], "o", color=drawing.COLOURS[2], fillstyle="none")
    right.axhline(math.log(2.0), color="#bbbbbb", linewidth=0.7, zorder=0)
    drawing.named(right, "What leaps (KL is infinite but at 0)", "θ", "nats; share", loc="center")

    share = 3.0 / math.sqrt(n)  # what heights of n random points differ by
    return Finding(
        [
            Number("largest |W - |θ|| of samples", np.abs(moved - np.abs(thetas)).max(), 0, share),
            Number("slope of W over θ > 0, median", float(np.median(slopes)), 0.8, 1.1, "1"),
            Number("JS for θ ≠ 0, farthest from log 2", np.abs(js[away] - math.log(2)).max(), 0,
                   1e-12, "log 2"),
            Number("JS at θ = 0", js[~away][0], 0, 0, "0"),
            Number("KL for θ ≠ 0", kl[away].min(), math.inf, math.inf, "+∞"),
            Number("total variation for θ ≠ 0", tv[away].min(), 1, 1, "1"),
            Number("JS of a trained discriminator, θ = 0.1 to 1, least", min(learned[1:]), 0.66,
                   math.log(2), "log 2"),
            Number("JS of a trained discriminator, θ = 0", learned[0], -0.05, 0.05, "0"),
        ],
        figure,
    )  # fmt: skip

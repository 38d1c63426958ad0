"""One distance for each class of functions (integral probability metrics).

    d_F(P, Q) = sup over f in F of E_P[f] - E_Q[f]

is a distance that depends on nothing but the class F of functions that may tell P from Q. With
the 1-Lipschitz functions it is the Wasserstein distance, with bounded ones the total variation,
with those of a kernel's unit ball the maximum mean discrepancy (MMD). Here the supremum is really
searched, over the values of f on a grid of points, for P = N(0, 1) and Q = N(1, 1), whose three
distances have closed forms:

    W = 1,    δ = 2 Φ(1/2) - 1 = 0.383,
    MMD² = 2 s (1 - exp(-1 / (2 (σ² + 2)))),  s = σ / √(σ² + 2),  of the kernel exp(-|x - y|²/2σ²).

The slides that this follows write two things in short that are not so at full length. Functions
with |f| ≤ 1 give twice the total variation δ = sup_A |P(A) - Q(A)|; δ itself is theirs of one
half, or of values between 0 and 1. And the ball of the MMD is that of the kernel's own norm,
‖f‖_H ≤ 1, where the slides have ‖f‖_∞; that norm bounds |f| by 1 for this kernel, and the slope,
too, so that the MMD is the least of the three. From samples W and the MMD are found by monge's own
metrics; total variation is not, as two sets of samples share no point and are always 1 apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from monge.metrics.divergences import total_variation
from monge.metrics.mmd import mmd_squared, rbf
from monge.metrics.transport import wasserstein1
from studies import drawing, linear_programme
from studies.study import Conditions, Finding, Number, Study

STUDY = Study(
    title="Lipschitz, bounded and kernel functions: three distances",
    source="Slides on WGAN, integral probability metrics; Müller 1997",
    claim="The best 1-Lipschitz function finds the Wasserstein distance, the best bounded one the "
    "total variation, the best of a kernel's ball the MMD.",
    seconds=(1, 8),
)

Floats = NDArray[np.float64]
SHIFT, WIDTH = 1.0, 1.0
"""The distance of the means, and σ of the kernel."""


@dataclass(frozen=True)
class Best:
    """The function of a class that tells most, [k] on a grid, and how much it tells."""

    f: Floats
    value: float


def grid(cells: int) -> Floats:
    """Points [cells, 1] around the middle between the means, which is the edge of two cells."""
    middle, half = SHIFT / 2.0, 6.5
    edges = np.linspace(middle - half, middle + half, cells + 1)
    return ((edges[1:] + edges[:-1]) / 2.0)[:, None]


def shares(x: Floats, mean: float) -> Floats:
    """N(mean, 1) on the grid."""
    heights = np.exp(-((x[:, 0] - mean) ** 2) / 2.0)
    return np.asarray(heights / heights.sum())


def lipschitz(x: Floats, p: Floats, q: Floats) -> Best:
    """The linear programme over all f with |f(x) - f(y)| ≤ |x - y|."""
    f = linear_programme.witness(np.abs(x - x.T), p, q)
    return Best(f, float(f @ (p - q)))


def bounded(x: Floats, p: Floats, q: Floats) -> Best:
    """All f with -1 ≤ f ≤ 1: a step of projected ascent that is long enough reaches a corner."""
    f = np.clip((p - q) / np.abs(p - q).min(), -1.0, 1.0)
    return Best(f, float(f @ (p - q)))


def of_kernel(x: Floats, p: Floats, q: Floats, steps: int) -> Best:
    """All f = Σ a_i k(x_i, ·) with a'Ka ≤ 1, by projected ascent of f's gradient in their space.

    There the gradient of E_P[f] - E_Q[f] is Σ (p_i - q_i) k(x_i, ·), so that a step adds to a.
    """
    kernel = rbf(WIDTH**2)(x, x)
    a = np.zeros(len(x))
    a[0] = 1.0
    for _ in range(steps):
        a = a + 0.5 * (p - q)
        a = a / max(1.0, math.sqrt(a @ kernel @ a))
    f = kernel @ a
    return Best(f, float(f @ (p - q)))


def closed_forms() -> dict[str, float]:
    """W, the total variation and the MMD of N(0, 1) and N(SHIFT, 1)."""
    spread = WIDTH**2 + 2.0
    mmd2 = 2.0 * WIDTH / math.sqrt(spread) * (1.0 - math.exp(-(SHIFT**2) / (2.0 * spread)))
    return {
        "W": SHIFT,
        "TV": math.erf(SHIFT / 2.0 / math.sqrt(2.0)),
        "MMD": math.sqrt(mmd2),
    }


def study(at: Conditions) -> Finding:
    """Search the best function of each class, and hold what it finds against the closed form."""
    x = grid(at.at(60, 120))
    p, q = shares(x, 0.0), shares(x, SHIFT)
    found = {"W": lipschitz(x, p, q), "TV": bounded(x, p, q), "MMD": of_kernel(x, p, q, 400)}
    closed = closed_forms()
    dice, n = at.dice(), at.at(500, 2000)
    of_p, of_q = dice.standard_normal((n, 1)), SHIFT + dice.standard_normal((n, 1))
    moved, mmd2 = wasserstein1(of_p, of_q), mmd_squared(of_p, of_q, rbf(WIDTH**2))
    cell = float(x[1, 0] - x[0, 0])
    # Sums over cells of smooth functions are exact; |p - q| has a bend, where they err by its
    # square. Means of n numbers of deviation 1 err by 1/√n; the bounds are four of that, for two.
    exact, bend, chance = 1e-6, cell**2, 4.0 * math.sqrt(2.0 / n)
    return Finding(
        [
            Number("best 1-Lipschitz function, less W", found["W"].value - closed["W"], -exact,
                   exact, "W"),
            Number("best function within ±1, less 2 δ", found["TV"].value - 2.0 * closed["TV"],
                   -bend, bend, "δ, for functions within ±1"),
            Number("best function within ±1, less 2 δ of monge's metric",
                   found["TV"].value - 2.0 * total_variation(p, q), -1e-12, 1e-12),
            Number("best function of the kernel's ball, less MMD",
                   found["MMD"].value - closed["MMD"], -exact, exact, "MMD"),
            Number("W of samples, less W", moved - closed["W"], -chance, chance),
            Number("MMD² of samples, less MMD²", mmd2 - closed["MMD"] ** 2, -chance, chance),
        ],
        drawn(x[:, 0], p, q, found),
    )  # fmt: skip


def drawn(x: Floats, p: Floats, q: Floats, found: dict[str, Best]) -> Figure:
    """The best function of each class over the two densities."""
    figure, axes = drawing.panels(3, columns=3)
    titles = {
        "W": "1-Lipschitz: W",
        "TV": "Within ±1: 2 × total variation",
        "MMD": "A kernel's unit ball: MMD",
    }
    for one, (name, title) in zip(axes, titles.items(), strict=True):
        best = found[name]
        f = best.f - (p + q) @ best.f / 2.0
        scale = 0.8 * np.abs(f[np.abs(x - SHIFT / 2.0) < 4.0]).max() / p.max()
        for law, label, colour in ((p, "P", drawing.COLOURS[0]), (q, "Q", drawing.COLOURS[1])):
            one.fill_between(x, scale * law, alpha=0.25, color=colour, linewidth=0, label=label)
        one.plot(x, f, color="black", label="best f")
        one.set_xlim(SHIFT / 2.0 - 4.0, SHIFT / 2.0 + 4.0)
        one.set_ylim(*(1.15 * np.array([-1, 1]) * np.abs(f[np.abs(x - SHIFT / 2.0) < 4.0]).max()))
        drawing.named(one, f"{title} = {best.value:.3f}", "x", "f(x)", loc="upper right")
    return figure

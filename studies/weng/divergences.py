"""Kullback-Leibler is not symmetric, Jensen-Shannon is (figure 1).

The figure shows two normal densities p = N(0, 1) and q = N(1, 1), their average m = (p + q) / 2,
and what the two divergences sum up along the line:

    KL(p‖q) = ∫ p log(p/q),    JS(p, q) = KL(p‖m) / 2 + KL(q‖m) / 2.

The post says that KL is asymmetric: where p is close to zero but q is not, q's effect is
disregarded, which is bad for measuring how alike two equally important laws are. JS is symmetric,
smoother, and bounded: by log 2, which is 1 where logarithms are to base 2.

The figure's own pair hides what it is to show. The two densities are mirror images of each other,
so that the curves p log(p/q) and q log(q/p) differ at every point but have one integral: KL is
(1 - 0)² / 2 = 1/2 in either direction. The second row therefore takes q = N(1, 2²), where the two
directions are 0.443 and 1.307. The closed form is

    KL(N(a, s²)‖N(b, t²)) = log(t/s) + (s² + (a - b)²) / (2 t²) - 1/2.

JS of two normal laws has no closed form; it is held against numerical integration.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from monge.metrics.divergences import jensen_shannon, kullback_leibler
from studies import drawing
from studies.study import Conditions, Finding, Number, Study

STUDY = Study(
    title="KL is not symmetric, JS is",
    source="Weng 2017, figure 1",
    claim="The Kullback-Leibler divergence depends on its direction, the Jensen-Shannon "
    "divergence does not and is at most log 2.",
    seconds=(1, 1),
)

Floats = NDArray[np.float64]
Normal = tuple[float, float]
"""A mean and a deviation."""
P: Normal = (0.0, 1.0)
OF_FIGURE: Normal = (1.0, 1.0)
WIDER: Normal = (1.0, 2.0)
FAR: Normal = (20.0, 1.0)


def density(law: Normal, x: Floats) -> Floats:
    """The density of a normal law, at x [k]."""
    mean, deviation = law
    height = 1.0 / (deviation * math.sqrt(2.0 * math.pi))
    return height * np.exp(-(((x - mean) / deviation) ** 2) / 2.0)


def on_the_line(
    divergence: Callable[[Floats, Floats], float], p: Normal, q: Normal, cells: int
) -> float:
    """A divergence of shares, for the densities at the midpoints of so many cells of a line.

    The line goes as far as neither density is rounded to 0; of densities that are as smooth as
    these, sums over equal cells are integrals up to rounding.
    """
    x = np.linspace(-15.0, 35.0, cells)
    return divergence(density(p, x), density(q, x))


def kl_in_closed_form(p: Normal, q: Normal) -> float:
    """KL(p‖q) of two normal laws."""
    (a, s), (b, t) = p, q
    return math.log(t / s) + (s**2 + (a - b) ** 2) / (2.0 * t**2) - 0.5


def js_integrated(p: Normal, q: Normal) -> float:
    """JS by adaptive quadrature of its own definition."""
    from scipy.integrate import quad

    def integrand(x: float) -> float:
        at = np.array([x])
        of_p, of_q = float(density(p, at)[0]), float(density(q, at)[0])
        mixed = (of_p + of_q) / 2.0
        return (of_p * math.log(of_p / mixed) + of_q * math.log(of_q / mixed)) / 2.0

    value, _ = quad(integrand, -15.0, 17.0, epsabs=1e-12, limit=200)
    return float(value)


def study(at: Conditions) -> Finding:
    """Sum up both divergences along the line, in both directions, for both pairs."""
    cells = at.at(5001, 50001)
    kl = {
        name: (on_the_line(kullback_leibler, P, q, cells), on_the_line(kullback_leibler, q, P,
                                                                       cells))
        for name, q in (("figure", OF_FIGURE), ("wider", WIDER))
    }  # fmt: skip
    closed = {
        name: (kl_in_closed_form(P, q), kl_in_closed_form(q, P))
        for name, q in (("figure", OF_FIGURE), ("wider", WIDER))
    }
    from_closed = max(
        abs(kl[name][way] - closed[name][way]) for name in kl for way in (0, 1)
    )  # fmt: skip
    js = [on_the_line(jensen_shannon, P, WIDER, cells), on_the_line(jensen_shannon, WIDER, P,
                                                                    cells)]  # fmt: skip
    of_figure = on_the_line(jensen_shannon, P, OF_FIGURE, cells)
    apart = on_the_line(jensen_shannon, P, FAR, cells)
    exact = 1e-9  # what sums of a few thousand rounded terms may differ by
    return Finding(
        [
            Number("KL of all pairs, farthest from the closed form", from_closed, 0, exact),
            Number("KL(p‖q) - KL(q‖p), p = N(0, 1), q = N(1, 2²)", kl["wider"][0] - kl["wider"][1],
                   -0.8638, -0.8635, "asymmetric"),
            Number("the same of the figure's pair, q = N(1, 1)", kl["figure"][0] - kl["figure"][1],
                   -exact, exact),
            Number("JS(p, q) - JS(q, p), q = N(1, 2²)", js[0] - js[1], -exact, exact, "symmetric"),
            Number("JS of the figure's pair, against quadrature",
                   of_figure - js_integrated(P, OF_FIGURE), -exact, exact),
            Number("JS, q = N(20, 1), against log 2", apart - math.log(2.0), -exact, exact,
                   "bounded by [0, 1], in bits"),
        ],
        drawn(kl, of_figure, js[0]),
    )  # fmt: skip


def drawn(kl: dict[str, tuple[float, float]], js_of_figure: float, js_of_wider: float) -> Figure:
    """The figure's three panels, for the figure's pair and for one of two widths."""
    figure, axes = drawing.panels(6, columns=3, height=0.8)
    x = np.linspace(-5.0, 7.0, 601)
    p = density(P, x)
    rows = (("figure", OF_FIGURE, "N(1, 1)", js_of_figure), ("wider", WIDER, "N(1, 2²)",
                                                             js_of_wider))  # fmt: skip
    for row, (name, law, words, js) in enumerate(rows):
        densities, of_kl, of_js = axes[3 * row : 3 * row + 3]
        q = density(law, x)
        m = (p + q) / 2.0
        densities.plot(x, p, label="p: N(0, 1)")
        densities.plot(x, q, label=f"q: {words}")
        densities.plot(x, m, "--", label="m: their average")
        densities.set_ylim(0.0, 0.6)
        drawing.named(densities, "Two densities", "x", "density", loc="upper right")
        of_kl.plot(x, p * np.log(p / q), label=f"KL(p‖q) = {kl[name][0]:.3f}")
        of_kl.plot(x, q * np.log(q / p), label=f"KL(q‖p) = {kl[name][1]:.3f}")
        of_kl.set_ylim(-0.2, 0.62)
        drawing.named(of_kl, "What KL sums up", "x", "nats per unit of x", loc="upper right")
        of_js.plot(x, p * np.log(p / m) / 2.0, "-", label="p's half")
        of_js.plot(x, q * np.log(q / m) / 2.0, "-", label="q's half")
        of_js.plot(x, (p * np.log(p / m) + q * np.log(q / m)) / 2.0, "-", label=f"JS = {js:.3f}")
        of_js.set_ylim(-0.05, 0.11)
        drawing.named(of_js, "What JS sums up", "x", "nats per unit of x", loc="upper right")
    return figure

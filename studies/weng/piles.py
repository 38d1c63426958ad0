"""Piles of earth, and bread from bakeries to cafés (figure 7; Villani 2008, figure 3.2).

Two ways in which ten shovelfuls can lie on four places, a step apart from each other,

    P = (3, 2, 1, 4),    Q = (1, 2, 4, 3):

the post moves 2 from the first pile to the second, 2 from the second to the third, and 1 from Q's
third pile to its fourth, and has then made the two alike at a cost of 5. On a line no plan is
needed for that: what is carried from place i to i + 1 is

    δ_0 = 0,    δ_{i+1} = δ_i + P_i - Q_i,    W = Σ |δ_i|,

which are 2, 2, -1 and 0 here. The text of P and Q is lost in the copy of the post that this
follows; they are those of the original, and they give the moves that it names.

In the plane there is no order to go along, and the plan is searched for among all: here for bread
from bakeries to cafés, whose places and loaves are drawn at random. Three ways must agree: the
linear programme over plans, its dual over prices, and a matching of single loaves, which is how
monge computes a Wasserstein distance. The dual is the proof: prices f of a loaf bought at a
bakery and g of one sold at a café, g_j - f_i ≤ |x_i - y_j| everywhere, earn no more than any plan
costs; where they earn as much, no plan is cheaper, and bread goes only where its price grows by
just what the way costs.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from monge.metrics.distances import squared_distances
from monge.metrics.transport import optimal_matching
from studies import drawing, linear_programme
from studies.study import Conditions, Finding, Number, Study

STUDY = Study(
    title="Piles of earth, and bread for cafés",
    source="Weng 2017, figure 7; Villani 2008, figure 3.2",
    claim="The four piles cost 5, by 2, 2 and 1 shovelfuls a step; the cheapest plan costs what "
    "the best prices earn.",
    seconds=(1, 1),
)

Floats = NDArray[np.float64]
P, Q = np.array([3, 2, 1, 4]), np.array([1, 2, 4, 3])


@dataclass(frozen=True)
class Town:
    """Places in a square [n, 2], and how many loaves each bakery has and each café wants."""

    bakeries: Floats
    baked: NDArray[np.int64]
    cafes: Floats
    wanted: NDArray[np.int64]

    @property
    def distances(self) -> Floats:
        """From each bakery to each café, [n, m]."""
        return np.sqrt(squared_distances(self.bakeries, self.cafes))


def carried(p: NDArray[np.int64], q: NDArray[np.int64]) -> NDArray[np.int64]:
    """δ_1 to δ_n: what is carried from each place to the next."""
    return np.cumsum(p - q)


def loaves_of(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each single loaf, the number of the place where it is."""
    return np.repeat(np.arange(len(counts)), counts)


def matched(cost: Floats, p: NDArray[np.int64], q: NDArray[np.int64]) -> float:
    """The least cost of moving p to q, whole shovelfuls or loaves, by an optimal matching."""
    each = cost[np.ix_(loaves_of(p), loaves_of(q))]
    return optimal_matching(each).cost * len(each)


def town(at: Conditions) -> Town:
    """Five bakeries and seven cafés in a square, with 40 loaves or 200."""
    dice = at.dice()
    loaves = at.at(40, 200)

    def shared(places: int) -> NDArray[np.int64]:
        cuts = np.sort(dice.choice(np.arange(1, loaves), places - 1, replace=False))
        return np.diff(cuts, prepend=0, append=loaves)

    blocks = np.stack(np.divmod(dice.permutation(16)[:12], 4), axis=1)  # no two in one block
    places = (blocks + dice.uniform(0.15, 0.85, (12, 2))) / 4.0
    return Town(places[:5], shared(5), places[5:], shared(7))


def study(at: Conditions) -> Finding:
    """Move the four piles; then find the cheapest plan for a town, and the prices that prove it."""
    places = np.arange(4.0)
    steps = np.abs(places[:, None] - places[None, :])
    moves = carried(P, Q)
    of_piles = linear_programme.plan(steps, P.astype(float), Q.astype(float))

    here = town(at)
    cost, baked, wanted = here.distances, here.baked.astype(float), here.wanted.astype(float)
    plan = linear_programme.plan(cost, baked, wanted)
    bought, sold = linear_programme.potentials(cost, baked, wanted)
    primal, dual = float((cost * plan).sum()), float(bought @ baked + sold @ wanted)
    used = plan > 1e-6
    gains = bought[:, None] + sold[None, :]

    figure, axes = drawing.panels(3, columns=3, height=0.95)
    draw_piles(axes[0], moves)
    draw_town(axes[1], here, plan, bought, sold)
    axes[2].scatter(cost[~used], gains[~used], s=12, color=drawing.COLOURS[5],
                    label="no bread goes there")  # fmt: skip
    axes[2].scatter(cost[used], gains[used], s=22, color=drawing.COLOURS[0], label="bread goes")
    axes[2].axline((0.0, 0.0), slope=1.0, color="#bbbbbb", linewidth=0.8, zorder=0)
    drawing.named(axes[2], "The prices prove the plan", "distance",
                  "price at the café less that at the bakery")  # fmt: skip
    rounding = 1e-9
    return Finding(
        [
            Number("cost of the four piles, Σ |δ|", float(np.abs(moves).sum()), 5, 5, "5"),
            *(
                Number(f"carried from place {i} to {i + 1}", float(move), wants, wants, told)
                for i, (move, wants, told) in enumerate(
                    zip(moves, (2, 2, -1), ("2", "2", "1, backwards"), strict=False), 1
                )
            ),
            Number("the same by the linear programme", float((steps * of_piles).sum()),
                   5 - rounding, 5 + rounding, "5"),
            Number("the same by matching single shovelfuls", matched(steps, P, Q), 5 - rounding,
                   5 + rounding, "5"),
            Number("bread: cheapest plan less best prices", primal - dual, -rounding, rounding,
                   "strong duality"),
            Number("bread: cheapest plan less matching of loaves",
                   primal - matched(cost, here.baked, here.wanted), -rounding, rounding),
            Number("bread: most that prices gain beyond the way", float((gains - cost).max()),
                   -rounding, rounding, "≤ 0"),
            Number("bread: farthest gain from the way, where bread goes",
                   float(np.abs(gains - cost)[used].max()), 0, rounding),
            Number("bread: farthest number of loaves from a whole one",
                   float(np.abs(plan - plan.round()).max()), 0, rounding),
        ],
        figure,
    )  # fmt: skip


def draw_piles(axes: Axes, moves: NDArray[np.int64]) -> None:
    """Both heaps side by side, and above them what is carried from each place to the next."""
    at = np.arange(1, 5)
    axes.bar(at - 0.18, P, 0.34, label="P", color=drawing.COLOURS[0])
    axes.bar(at + 0.18, Q, 0.34, label="Q", color=drawing.COLOURS[1])
    for i, move in itertools.islice(enumerate(moves, 1), 3):
        start, end = (i + 0.05, i + 0.95) if move > 0 else (i + 0.95, i + 0.05)
        axes.annotate("", (end, 4.55), (start, 4.55), arrowprops={"arrowstyle": "->"})
        axes.text(i + 0.5, 4.65, str(abs(move)), ha="center", va="bottom", fontsize=9)
    axes.set_ylim(0.0, 6.4)
    axes.set_xticks(at)
    drawing.named(axes, f"Carried: {abs(moves).sum()} in all", "place", "shovelfuls",
                  loc="upper right", ncols=2)  # fmt: skip


def draw_town(axes: Axes, here: Town, plan: Floats, bought: Floats, sold: Floats) -> None:
    """Squares for bakeries and circles for cafés, by their price; a line as broad as its bread."""
    for i, j in zip(*np.nonzero(plan > 1e-6), strict=True):
        ends = np.stack([here.bakeries[i], here.cafes[j]])
        axes.plot(ends[:, 0], ends[:, 1], "-", color="#9a9a9a", zorder=1,
                  linewidth=0.6 + 8.0 * plan[i, j] / plan.sum())  # fmt: skip
    prices = np.concatenate([-bought, sold])
    low, high = float(prices.min()), float(prices.max())
    for place, count, price, marker in (
        (here.bakeries, here.baked, -bought, "s"), (here.cafes, here.wanted, sold, "o"),
    ):  # fmt: skip
        drawn = axes.scatter(place[:, 0], place[:, 1], c=price, s=45, marker=marker, zorder=2,
                             edgecolors="black", linewidths=0.6, cmap="viridis",
                             vmin=low, vmax=high)  # fmt: skip
        for (x, y), loaves in zip(place, count, strict=True):
            axes.text(x, y + 0.035, str(loaves), ha="center", va="bottom", fontsize=7, zorder=3)
    assert axes.figure is not None
    bar = axes.figure.colorbar(drawn, ax=axes, shrink=0.8)
    bar.set_label("price of a loaf", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    axes.margins(0.12)
    drawing.named(axes, "Bakeries □, cafés ○, their loaves", "x", "y")

"""Wasserstein distances between two sets of points: exact with a proof, and sliced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from monge.metrics.distances import squared_distances

# Numbers held at once in float64 (32 MiB): bytes become float64 block by block.
_BLOCK = 2**22
_PRODUCTS = 50


@dataclass(frozen=True)
class Matching:
    """An optimal matching of two equal-sized sets, and what proves that it is one.

    `cost` is the mean cost of the matched pairs. `u` and `v` [n] are dual potentials, u_i + v_j <=
    c_ij for all pairs, so that their mean sum, `dual`, can exceed the cost of no matching at all
    (Kantorovich): where `gap` = cost − dual is 0, nothing cheaper exists.
    """

    cost: float
    columns: NDArray[np.int64]
    u: NDArray[np.float64]
    v: NDArray[np.float64]

    @property
    def dual(self) -> float:
        """The lower bound that the potentials prove."""
        return float(self.u.mean() + self.v.mean())

    @property
    def gap(self) -> float:
        """Give the excess of the cost over the bound; rounding aside, 0."""
        return self.cost - self.dual


def optimal_matching(cost: NDArray[np.float64]) -> Matching:
    """Match rows with columns of a cost matrix [n, n] at the least mean cost.

    Between uniform measures on n points each, an optimal transport plan is a matching (Birkhoff;
    Peyré and Cuturi 2019, "Computational optimal transport", proposition 2.1), so an assignment
    solver finds it. The potentials are then shortest paths in the graph that swaps partners: v_j =
    min over i of v_partner(i) + c_ij − c_i,partner(i), until nothing changes (Bellman and Ford),
    and u_i = min over j of c_ij − v_j, which keeps the bound true whatever came before.
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(cost)
    paid = cost[rows, columns]
    swaps = cost[:, columns] - paid[:, None]  # i takes the partner of j instead of its own
    by_partner = np.zeros(len(cost))
    for _ in range(len(cost)):
        shorter = np.minimum(by_partner, (by_partner[:, None] + swaps).min(axis=0))
        settled = np.allclose(shorter, by_partner, rtol=0.0, atol=1e-14 * paid.max(initial=1.0))
        by_partner = shorter
        if settled:
            break
    v = np.empty(len(cost))
    v[columns] = by_partner
    u = (cost - v).min(axis=1)
    return Matching(float(paid.mean()), columns, u, v)


def wasserstein(x: NDArray[Any], y: NDArray[Any], order: Literal[1, 2]) -> tuple[float, float]:
    """Exact Wasserstein-1 or -2 distance between equal-sized sets [n, d], and its duality gap.

    Euclidean ground cost to the power of `order`, its mean's root taken. The gap is that of the
    cost, as a share of it. In the units of the arrays. O(n³) time, O(n²) memory.
    """
    if len(x) != len(y) or not len(x):
        raise ValueError(f"the sets must have one size above 0, got {len(x)} and {len(y)}")
    squares = squared_distances(x, y)
    found = optimal_matching(np.sqrt(squares) if order == 1 else squares)
    return found.cost ** (1.0 / order), found.gap / (found.cost or 1.0)


def wasserstein1(x: NDArray[Any], y: NDArray[Any]) -> float:
    """Exact Wasserstein-1 distance: see `wasserstein`."""
    return wasserstein(x, y, 1)[0]


def sinkhorn_divergence(x: NDArray[Any], y: NDArray[Any], blur: float = 0.05) -> float:
    """Entropic transport without its bias: S(x, y) − S(x, x) / 2 − S(y, y) / 2, >= 0.

    S is the least of Σ P |x − y|² + ε KL(P | uniform), with ε = `blur` times the mean squared
    distance between x and y (Genevay et al. 2018, "Learning generative models with Sinkhorn
    divergences"; Feydy et al. 2019). Between W2² (ε to 0) and the squared distance of the means (ε
    to infinity). In squared units of the arrays.
    """
    across = squared_distances(x, y)
    epsilon = blur * float(across.mean())
    if epsilon == 0.0:
        return 0.0
    own = sum(_entropic_within(squared_distances(points, points), epsilon) for points in (x, y))
    return max(_entropic(across, epsilon) - own / 2.0, 0.0)


def _entropic(cost: NDArray[np.float64], epsilon: float, most_rounds: int = 100) -> float:
    """S of a cost matrix [n, m], by Sinkhorn's alternating scaling of rows and columns.

    ε comes down from the largest cost by halves, so that few steps are needed at its end. Each
    round starts with exact steps of the potentials in the logarithmic domain, where nothing can
    underflow, and goes on with cheap products around them (Schmitzer 2019, "Stabilized sparse
    scaling algorithms").
    """
    from scipy.special import logsumexp

    n, m = cost.shape
    f, g = np.zeros(n), np.zeros(m)
    now, tolerance = max(float(cost.max()), epsilon), 1e-6 * float(cost.mean() or 1.0)
    for _ in range(most_rounds):
        before = f
        g = -now * (logsumexp((f[:, None] - cost) / now, axis=0) - np.log(n))
        f = -now * (logsumexp((g[None, :] - cost) / now, axis=1) - np.log(m))
        if now == epsilon:
            if np.abs(f - before).max() < tolerance:
                break
            plan = np.exp((f[:, None] + g[None, :] - cost) / now) / (n * m)
            rows = np.ones(n)
            for _ in range(_PRODUCTS):
                columns = 1.0 / (m * (rows @ plan))
                rows = 1.0 / (n * (plan @ columns))
            f, g = f + now * np.log(rows), g + now * np.log(columns)
        now = max(now / 2.0, epsilon)
    return float(f.mean() + g.mean())


def _entropic_within(cost: NDArray[np.float64], epsilon: float, most: int = 1000) -> float:
    """S of a set and itself: one potential, whose averaged steps settle within a few dozen."""
    from scipy.special import logsumexp

    n = len(cost)
    f, tolerance = np.zeros(n), 1e-6 * float(cost.mean() or 1.0)
    for _ in range(most):
        step = -epsilon * (logsumexp((f[:, None] - cost) / epsilon, axis=0) - np.log(n))
        change, f = float(np.abs(step - f).max()), (f + step) / 2.0
        if change < tolerance:
            break
    return float(2.0 * f.mean())


def directions(generator: np.random.Generator, count: int, dimension: int) -> NDArray[np.float64]:
    """Uniform random unit vectors [count, dimension]; drawn in parts they are the same ones."""
    normal = generator.standard_normal((count, dimension))
    unit: NDArray[np.float64] = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    return unit


def sliced_wasserstein1(x: NDArray[Any], y: NDArray[Any], projections: int, seed: int) -> float:
    """Wasserstein-1 between one-dimensional projections of [n, d] and [m, d], averaged over them.

    Directions are seeded and uniform on the sphere (Bonneel et al. 2015, "Sliced and Radon
    Wasserstein barycenters of measures"). Unequal sizes are exact too: the two quantile functions
    are compared on their joint steps. In the units of the arrays.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or not (len(x) and len(y)):
        raise ValueError(f"expected two sets [n, d] of equal width, got {x.shape} and {y.shape}")
    steps_x, steps_y, weights = _joint_steps(len(x), len(y))
    generator = np.random.default_rng(seed)
    at_a_time = max(1, min(64, _BLOCK // x.shape[1]))
    total = 0.0
    for start in range(0, projections, at_a_time):
        along = directions(generator, min(at_a_time, projections - start), x.shape[1])
        sorted_x, sorted_y = _sorted_projections(x, along), _sorted_projections(y, along)
        total += float((weights @ np.abs(sorted_x[steps_x] - sorted_y[steps_y])).sum())
    return total / projections


def _joint_steps(
    n: int, m: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """On each step of the merged quantile grid: which order statistic of either set, what weight.

    Counted in units of 1/(n·m), in whole numbers: no step is lost or doubled by rounding.
    """
    ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)
    starts = np.concatenate([[0], ends[:-1]])
    return starts // m, starts // n, (ends - starts) / (n * m)


def _sorted_projections(points: NDArray[Any], along: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each column the sorted projections on one direction: [n, d] -> float64 [n, directions]."""
    projected = np.empty((len(points), len(along)))
    at_a_time = max(1, _BLOCK // points.shape[1])
    for start in range(0, len(points), at_a_time):
        rows = slice(start, start + at_a_time)
        projected[rows] = points[rows].astype(np.float64) @ along.T
    projected.sort(axis=0)
    return projected

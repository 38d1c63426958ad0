"""Optimal transport as a linear programme, its dual, and Kantorovich and Rubinstein's form.

A plan γ [n, m] moves masses p [n] to masses q [m] at a cost c [n, m] per unit of mass:

    EMD = min Σ c γ   such that   Σ_j γ_ij = p_i,  Σ_i γ_ij = q_j,  γ ≥ 0        (primal)
        = max Σ f p + Σ g q   such that   f_i + g_j ≤ c_ij                       (dual)

Written with x = vec(γ), b = [p, q] and a matrix A of the marginal sums, they are min c'x, Ax = b
and max b'φ, A'φ ≤ c, with φ = [f, g]. Both are solved on their own, by simplex and interior points
of HiGHS, so that one is a proof of the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def marginals(n: int, m: int) -> Any:
    """A [n + m, n m], sparse: what of a plan's entries leaves each row and reaches each column."""
    from scipy import sparse

    leaving = sparse.kron(sparse.identity(n), np.ones((1, m)))
    reaching = sparse.kron(np.ones((1, n)), sparse.identity(m))
    return sparse.vstack([leaving, reaching]).tocsr()


def plan(cost: Floats, p: Floats, q: Floats) -> Floats:
    """The cheapest plan γ [n, m]."""
    found = _solved(
        cost.ravel(), A_eq=marginals(*cost.shape), b_eq=np.concatenate([p, q]), bounds=(0, None)
    )
    shaped: Floats = found.reshape(cost.shape)
    return shaped


def potentials(cost: Floats, p: Floats, q: Floats) -> tuple[Floats, Floats]:
    """f [n] and g [m] of the dual, with mean f = 0: what leaves and what arrives is worth."""
    n, m = cost.shape
    found = _solved(
        -np.concatenate([p, q]), A_ub=marginals(n, m).T, b_ub=cost.ravel(), bounds=(None, None)
    )
    level = found[:n].mean()
    return found[:n] - level, found[n:] + level


def witness(distances: Floats, p: Floats, q: Floats) -> Floats:
    """The 1-Lipschitz f [n] on n points that maximises Σ f (p - q), with mean f = 0.

    Kantorovich and Rubinstein's form, for two laws on the same points.
    """
    from scipy import sparse

    rows, columns = (one.ravel() for one in np.indices(distances.shape))
    pairs = rows != columns
    count = int(pairs.sum())
    which = np.arange(count)
    ones = np.ones(count)
    differences = sparse.csr_matrix((ones, (which, rows[pairs])), (count, len(p)))
    differences -= sparse.csr_matrix((ones, (which, columns[pairs])), (count, len(p)))
    found = _solved(q - p, A_ub=differences, b_ub=distances.ravel()[pairs], bounds=(None, None))
    centred: Floats = found - found.mean()
    return centred


def _solved(objective: Floats, **constraints: Any) -> Floats:
    """Find where a linear objective is least."""
    from scipy.optimize import linprog

    result = linprog(objective, method="highs", **constraints)
    assert result.success, result.message
    return np.asarray(result.x, dtype=np.float64)

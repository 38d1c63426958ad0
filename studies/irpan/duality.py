"""From transport plans to a critic: the linear programme, its dual, Kantorovich and Rubinstein.

A plan is a matrix of masses, its cost linear in them, and its marginals are linear constraints,
so that the Wasserstein distance of two laws on finitely many points is a linear programme. Its
dual asks for a potential f_1 of each point of P and f_2 of each point of Q with

    f_1(x) + f_2(y) ≤ |x - y|,    max E_P[f_1] + E_Q[f_2],

and strong duality says that both values are one. Where the cost is a distance and both laws have
mass at every point, f_2 = -f_1 follows, and with it |f(x) - f(y)| ≤ |x - y|: what is left is

    W(P, Q) = max over 1-Lipschitz f of E_P[f] - E_Q[f].

The slides have f = f_2 and so the other sign; here P is the real law and f what a critic is. All
three programmes are solved apart from each other, for two laws on a grid of a line that share
every point. On a line the potential can also be written down: its slope is the sign of the
difference of the two distribution functions.

Then a critic is trained against these two laws, held by the gradient penalty with λ = 10, and
compared with the exact potential. It has to be near it, and a little steeper: where every slope is
s, the objective is s W - λ (s - 1)², which is best at s = 1 + W / 2λ.

Which side the penalty has decides here. Gulrajani et al. 2017 ask for slope 1 everywhere between
points of P and Q, since the best critic has it there if the two laws share no points; these share
all. A critic in one dimension must then turn from slope +1 to -1 where it may not have slope 0,
and the two-sided penalty, which they recommend, holds it fast on a straight line that tells next
to nothing. The one-sided penalty, which asks for slopes of at most 1 as the duality does, comes to
the potential. Both are shown. Laws, network and length are not in the sources: real points at both
ends of [-3, 3] and generated ones in the middle, on a grid of 61, 2 layers of 64 units, Adam at
0.002 that falls to 0.
"""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from monge.params import TrainParams
from studies import drawing, linear_programme
from studies.bare_loop import Training, perceptron
from studies.study import Conditions, Finding, Number, Study

STUDY = Study(
    title="From plans to potentials to a critic",
    source="Irpan 2017; slides on WGAN, Kantorovich-Rubinstein duality",
    claim="The best potentials are f and -f with f 1-Lipschitz and earn what the best plan costs; "
    "a critic under the one-sided penalty is near f.",
    seconds=(6, 35),
)

Floats = NDArray[np.float64]
RATE = 2e-3


def laws() -> tuple[Floats, Floats, Floats]:
    """Points [61] of a line, and P and Q there: two bumps each, and a little mass everywhere."""
    x = np.linspace(-3.0, 3.0, 61)

    def bumps(*means: float) -> Floats:
        heights = np.sum([np.exp(-(((x - mean) / 0.3) ** 2) / 2.0) for mean in means], axis=0)
        heights = heights + 1e-3
        return np.asarray(heights / heights.sum())

    return x, bumps(-2.0, 1.8), bumps(-0.5, 0.6)


def slope_on_a_line(p: Floats, q: Floats) -> Floats:
    """The potential's slope between neighbours, [k - 1]: +1 where more of Q than of P is left.

    E_P[f] - E_Q[f] = ∫ f' (F_Q - F_P), by parts.
    """
    return np.sign(np.cumsum(q - p)[:-1])


class Grid(nn.Module):
    """Points [n, 1] drawn from a law on finitely many points, whatever the latents [n, 1] are.

    A generator that stands still, whose latents are turned to uniform numbers and those to points
    by the law's quantiles.
    """

    def __init__(self, x: Floats, law: Floats) -> None:
        super().__init__()
        self.x = torch.as_tensor(x, dtype=torch.float32)
        self.ends = torch.as_tensor(np.cumsum(law)[:-1], dtype=torch.float32)
        self.unused = nn.Parameter(torch.zeros(()))  # an optimizer wants something to optimize

    def forward(self, latents: Tensor) -> Tensor:
        uniform = torch.special.ndtr(latents[:, 0]).contiguous()
        return self.x[torch.searchsorted(self.ends, uniform)][:, None]


def critic_of(laws: tuple[Floats, Floats, Floats], penalty: str, at: Conditions) -> Floats:
    """A trained critic's scores of all points, [k]; their mean over both laws is 0."""
    x, p, q = laws
    torch.manual_seed(at.seed)
    train = TrainParams.model_validate(
        {"latent_dim": 1, "batch_size": 256, "objective": "wgan-gp",
         "wgan-gp": {"learning_rate": RATE, "penalty": penalty}}
    )  # fmt: skip
    dice = torch.Generator().manual_seed(at.seed)
    real = Grid(x, p)
    networks = {"generator": Grid(x, q), "critic": perceptron([1, 64, 64, 1])}
    training = Training(train, networks, lambda n: real(torch.randn(n, 1, generator=dice)), at.seed)
    steps = at.at(600, 4000)
    for step in at.steps(steps):
        training.optimizers["critic"].param_groups[0]["lr"] = RATE * (1.0 - step / steps)
        training.opponent_step()
    with torch.no_grad():
        scores = training.networks["critic"](torch.as_tensor(x, dtype=torch.float32)[:, None])
    return centred(scores.double().numpy(), p, q)


def centred(f: Floats, p: Floats, q: Floats) -> Floats:
    """A function less its mean over both laws, [k]."""
    return f - (p + q) @ f / 2.0


def likeness(f: Floats, g: Floats, p: Floats, q: Floats) -> float:
    """The correlation of two centred functions over both laws."""
    return float((p + q) @ (f * g) / np.sqrt(((p + q) @ f**2) * ((p + q) @ g**2)))


def study(at: Conditions) -> Finding:
    """Solve all three programmes, train two critics, and hold each against the others."""
    x, p, q = laws()
    cost = np.abs(x[:, None] - x[None, :])
    plan = linear_programme.plan(cost, p, q)
    f1, f2 = linear_programme.potentials(cost, p, q)
    f = centred(linear_programme.witness(cost, p, q), p, q)
    w = float((cost * plan).sum())
    critics = {name: critic_of((x, p, q), name, at) for name in ("one-sided", "two-sided")}
    slopes = np.diff(f) / np.diff(x)
    return Finding(
        [*of_programmes(w, float(f1 @ p + f2 @ q), float(f @ (p - q)), f1 + f2),
         *of_potential(np.diff(f1) / np.diff(x), slopes - slope_on_a_line(p, q)),
         *of_critics(critics, f, (p, q), w)],
        drawn(x, (p, q), plan, f, critics),
    )  # fmt: skip


def of_programmes(w: float, dual: float, kantorovich: float, both: Floats) -> list[Number]:
    """Their three values, and the sum of the two potentials at every point."""
    rounding = 1e-9
    return [
        Number("cheapest plan less best potentials", w - dual, -rounding, rounding,
               "strong duality"),
        Number("cheapest plan less best 1-Lipschitz function", w - kantorovich, -rounding,
               rounding, "Kantorovich-Rubinstein"),
        Number("farthest f_2 from -f_1", float(np.abs(both).max()), 0, rounding, "f_2 = -f_1"),
    ]  # fmt: skip


def of_potential(slopes: Floats, beside_closed_form: Floats) -> list[Number]:
    """The dual's slopes, and by how much those of f differ from what they are on a line."""
    rounding = 1e-9
    return [
        Number("largest slope of f_1", float(np.abs(slopes).max()), 1 - rounding, 1 + rounding,
               "1-Lipschitz"),
        Number("farthest slope of f from its closed form", float(np.abs(beside_closed_form).max()),
               0, rounding),
    ]  # fmt: skip


def of_critics(
    critics: dict[str, Floats], f: Floats, laws: tuple[Floats, Floats], w: float
) -> list[Number]:
    """Compare what was learned with the potential: as like as an angle of 15 degrees at most."""
    p, q = laws
    one, two = critics["one-sided"], critics["two-sided"]
    apart = np.sqrt((p + q) @ (one - f) ** 2 / ((p + q) @ f**2))
    return [
        Number("one-sided critic: correlation with the potential", likeness(one, f, p, q), 0.966, 1,
               "the critic approximates f"),
        Number("one-sided critic: distance from the potential, as a share of its size",
               float(apart), 0, 0.26),
        # 1 + W / 2λ where every slope counts; more, at most by that again, where kinks do not.
        Number("one-sided critic: its estimate over W", float(one @ (p - q)) / w, 1.0,
               1.0 + 2.0 * w / (2.0 * 10.0)),
        Number("two-sided critic: correlation with the potential", likeness(two, f, p, q), -0.6,
               0.6),
    ]  # fmt: skip


def drawn(
    x: Floats, laws: tuple[Floats, Floats], plan: Floats, f: Floats, critics: dict[str, Floats]
) -> Figure:
    """The laws, the plan between them, the potential and both critics."""
    figure, (both, matrix, potentials) = drawing.panels(3, columns=3, height=0.95)
    for law, name in zip(laws, ("P, real", "Q, fake"), strict=True):
        both.plot(x, law, label=name)
    drawing.named(both, "Two laws on the same points", "x", "mass")
    both.set_ylim(0.0, 1.3 * max(laws[0].max(), laws[1].max()))
    which = plan > 1e-9
    rows, columns = np.nonzero(which)
    matrix.scatter(x[columns], x[rows], s=900.0 * plan[which], alpha=0.6, linewidths=0)
    matrix.axline((0.0, 0.0), slope=1.0, color="#bbbbbb", linewidth=0.8, zorder=0)
    drawing.named(matrix, "The cheapest plan", "to y, where Q is", "from x, where P is")
    potentials.plot(x, f, color="black", label="exact potential f")
    for number, (name, scores) in enumerate(critics.items()):
        colour, label = drawing.COLOURS[number], f"critic, {name} penalty"
        potentials.plot(x, scores, "--", color=colour, label=label)
    potentials.set_ylim(-3.2, 4.6)
    drawing.named(potentials, "Potential and critics", "x", "f(x)", loc="upper center")
    return figure

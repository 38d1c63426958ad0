"""Score over iterations and over time, by four methods (section 5.3, figure 3).

On CIFAR-10 the paper plots the Inception score of four trainings of one pair of networks over
generator iterations and over wall-clock time: weight clipping, the gradient penalty with RMSProp at
clipping's own rate, "to control for the optimizer", the penalty with Adam, and a DCGAN, whose game
is that of a GAN. Its reading: the penalty "significantly outperforms weight clipping and performs
comparably to DCGAN".

Here pictures are the digits of 8 x 8 and networks are perceptrons of 3 layers of 128, for all four;
the score is that of the product's classifier, which goes to 10. Rates are the paper's and its
code's ten times, since networks are small: Adam at 1e-3, RMSProp at 5e-4, and Adam at 2e-3 for the
GAN; the clip is 0.01. The four take turns, so that what slows the processor slows all of them, and
a method's time is its iterations times the median of their processor time: the order does not rest
on the clock of one turn. A score is a mean over the second half of the iterations, or of the
time, that the shortest of the compared curves has. "Comparably" is taken as within a fifth.

An iteration of the GAN has one step of its opponent, the others' have five, and the penalty's take
half as long again as clipping's. So the GAN is behind at equal iterations and is first for a while
at equal time, as in the paper; then its score falls back, where the penalty's does not ("more
stable at convergence"). The quick size ends within the GAN's slow first thousand iterations, and
its comparison with the GAN says nothing; that number holds at the default size alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from studies import drawing
from studies.bare_loop import Training
from studies.image_training import MLP, training
from studies.pictures import Images, Judge, Pictures, digits_or, in_bytes, show
from studies.study import Conditions, Finding, Number, Study

STUDY = Study(
    title="Score over iterations and over time",
    source="Gulrajani et al. 2017, section 5.3 and figure 3",
    claim="At equal iterations and at equal time the gradient penalty scores above weight "
    "clipping, with either optimizer, and about as high as a DCGAN's game.",
    seconds=(10, 160),
    images=True,
)

ADAM, RMSPROP, GAN = 1e-3, 5e-4, 2e-3
PENALTY = {**MLP, "objective": "wgan-gp", "wgan-gp": {"learning_rate": ADAM}}
METHODS: dict[str, dict[str, Any]] = {
    "penalty, Adam": PENALTY,
    "penalty, RMSProp": PENALTY,
    "clipping": {**MLP, "objective": "wgan", "wgan": {"learning_rate": RMSPROP, "clip": 0.01}},
    "GAN": {**MLP, "objective": "gan", "gan": {"learning_rate": GAN}},
}
TURN = {"penalty, Adam": 1, "penalty, RMSProp": 1, "clipping": 1.5, "GAN": 5}
"""Iterations in a turn, of the penalty's: so that all take about as long."""


@dataclass
class Curve:
    """A training's scores, after how many iterations, and seconds of the processor for each."""

    iterations: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    images: Images = field(default_factory=lambda: np.zeros((0, 1, 8, 8), np.uint8))

    def over_iterations(self) -> tuple[np.ndarray, np.ndarray]:
        """After how many iterations, and the scores."""
        return np.array(self.iterations), np.array(self.scores)

    def over_time(self) -> tuple[np.ndarray, np.ndarray]:
        """After how many seconds, by the median of an iteration's, and the scores."""
        return np.array(self.iterations) * float(np.median(self.seconds)), np.array(self.scores)


Axis = Callable[[Curve], tuple[np.ndarray, np.ndarray]]


def started(name: str, pictures: Pictures, seed: int) -> Training:
    """A training by one of the methods."""
    of = training(METHODS[name], pictures, seed)
    if name == "penalty, RMSProp":
        of.optimizers = {
            role: torch.optim.RMSprop(network.parameters(), lr=RMSPROP, foreach=True)
            for role, network in of.networks.items()
        }
    return of


def raced(pictures: Pictures, turns: int, iterations: int, at: Conditions) -> dict[str, Curve]:
    """All four, by turns of so many iterations of the penalty's."""
    judge = Judge(pictures)
    trainings = {name: started(name, pictures, at.seed) for name in METHODS}
    curves = {name: Curve() for name in METHODS}
    for _ in at.steps(turns):
        for name, of in trainings.items():
            curve, count = curves[name], int(TURN[name] * iterations)
            began = time.process_time()
            for _ in range(count):
                of.iterate()
            curve.seconds.append((time.process_time() - began) / count)
            curve.images = in_bytes(of.samples(500))
            curve.iterations.append(of.step)
            curve.scores.append(judge.score(curve.images))
    return curves


def late(curves: dict[str, Curve], names: Iterable[str], along: Axis) -> list[float]:
    """The mean score of each over the second half of what all of them have had."""
    told = [along(curves[name]) for name in names]
    end = min(x[-1] for x, _ in told)
    half = np.linspace(end / 2.0, end, 50)
    return [float(np.interp(half, x, scores).mean()) for x, scores in told]


def study(at: Conditions) -> Finding:
    """Train by all four, and compare scores at equal iterations and at equal time."""
    pictures = digits_or(at)
    curves = raced(pictures, *at.at((6, 16), (20, 120)), at)
    numbers = []
    for along, equal in ((Curve.over_iterations, "iterations"), (Curve.over_time, "time")):
        for name in ("penalty, Adam", "penalty, RMSProp"):
            of_penalty, of_clipping = late(curves, (name, "clipping"), along)
            numbers.append(Number(f"score above clipping's at equal {equal}, {name}",
                                  of_penalty - of_clipping, 0.0, 9.0, "above"))  # fmt: skip
    of_penalty, of_gan = late(curves, ("penalty, Adam", "GAN"), Curve.over_time)
    numbers.append(Number("score to the GAN's at equal time, penalty, Adam",
                          of_penalty / of_gan, 0.8, 1.25, "comparable"))  # fmt: skip
    return Finding(numbers, drawn(curves))


def drawn(curves: dict[str, Curve]) -> Figure:
    """Both pairs of axes of the paper's figure, and what each draws at its end."""
    figure, panels = drawing.panels(6)
    ends = [min(along(curve)[0][-1] for curve in curves.values())
            for along in (Curve.over_iterations, Curve.over_time)]  # fmt: skip
    for name, curve in curves.items():
        panels[0].plot(*curve.over_iterations(), label=name)
        panels[1].plot(*curve.over_time())
    panels[0].set_xlim(0.0, 1.5 * ends[0])
    panels[1].set_xlim(0.0, 1.1 * ends[1])
    drawing.named(panels[0], "Score over iterations", "generator iterations", "score, of 10")
    drawing.named(panels[1], "Score over time", "seconds of the processor", "score, of 10")
    for axes, (name, curve) in zip(panels[2:], curves.items(), strict=True):
        show(axes, curve.images[:32], f"{name}: {curve.scores[-1]:.1f}")
    return figure

"""Eight modes on a ring, by six methods (figure 2).

A mixture of eight Gaussians on a circle is learned by a generator and an opponent of two hidden
layers. Metz et al. show that the generator of a GAN whose discriminator learns slowly goes from
mode to mode and never covers them all, and that one whose gradient goes through the
discriminator's next steps spreads over all of them. Beside these two stand minibatch
discrimination (Salimans et al. 2016, section 3.2), whose discriminator sees how alike the samples
of a batch are, and three methods that are said not to collapse: wgan, wgan-gp and rpgan.

A sample is good where it lies within three deviations of a mode; a mode is found where more than 2%
of all samples are good ones of it (an eighth is its share). Counts are means over the last quarter
of the looks, so that a generator that goes round does not count for all that it has visited.

For gan, unrolled gan and minibatch discrimination the generator learns ten times as fast as the
discriminator, as in the authors' notebook, and both five times as fast as there; they differ in
nothing but what their names say. The others have their own optimizers and one rate of 0.002 for
both; wgan-gp takes two critic steps, λ is 0.1 as in the code for toy sets, the clip 0.3, the weight
of R1 and R2 0.1. The notebook sets its modes at angles of a linspace that
includes its end, so that two of them coincide and seven are left; here they are eight. The ring has
radius 1 and deviation 0.05, wider than theirs (0.01), and networks of 64 rectifiers.

Unrolled, the generator spreads over all eight directions first and comes to the modes after some
hundred iterations, each of which costs more than ten of the others'. The quick size ends before
that, and wgan, too, is not there by then: of these two it shows the directions alone. Minibatch
discrimination finds all modes early, and loses some of them again: at the default size it stands at
about half, which is where few ends and most begins here, and its verdict may go either way.
`--full` has the authors' number of iterations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from monge.nets.mlp import Critic
from monge.params import TrainParams
from studies import drawing, toy_data
from studies.bare_loop import Training, perceptron
from studies.study import Conditions, Finding, Number, Study

STUDY = Study(
    title="Modes on a ring, by six methods",
    source="Metz et al. 2017, figure 2; Salimans et al. 2016, section 3.2",
    claim="A GAN with a slow discriminator finds few of eight modes; unrolled, with minibatch "
    "discrimination, and as wgan, wgan-gp and rpgan it finds them.",
    seconds=(10, 70),
    full="25,000 iterations of each: hours",
)

RADIUS, DEVIATION, WIDTH = 1.0, 0.05, 64
LOOKS = 12


@dataclass(frozen=True)
class Method:
    """The method that is trained: its sections, iterations by size, and the rate of each side."""

    section: dict[str, object]
    iterations: tuple[int, int]
    rates: tuple[float, float] = (2e-3, 2e-3)


SLOW = (5e-3, 5e-4)
METHODS = {
    "gan": Method({"objective": "gan"}, (360, 3000), SLOW),
    "unrolled gan": Method({"objective": "gan", "gan": {"unroll_steps": 5}}, (60, 600), SLOW),
    "minibatch discrimination": Method(
        {"objective": "gan", "mlp": {"minibatch_kernels": 4}}, (360, 3000), SLOW
    ),
    "wgan": Method({"objective": "wgan", "wgan": {"clip": 0.3}}, (150, 1500)),
    "wgan-gp": Method(
        {"objective": "wgan-gp", "wgan-gp": {"penalty_weight": 0.1, "critic_steps": 2}}, (480, 1800)
    ),
    "rpgan": Method(
        {"objective": "rpgan", "rpgan": {"penalty_weight": 0.1, "penalty_weight_end": 0.1}},
        (420, 3000),
    ),
}


@dataclass
class Seen:
    """Modes found, directions with samples and the share of good ones at each look; the last."""

    at: list[int] = field(default_factory=list)
    modes: list[int] = field(default_factory=list)
    directions: list[int] = field(default_factory=list)
    good: list[float] = field(default_factory=list)
    samples: Tensor = field(default_factory=lambda: torch.empty(0, 2))

    def look(self, step: int, samples: Tensor, centres: Tensor) -> None:
        """Count what the generator makes now."""
        distance, mode = torch.cdist(samples, centres).min(dim=1)
        good = distance < 3.0 * DEVIATION
        counts = torch.bincount(mode[good], minlength=len(centres))
        self.at.append(step)
        self.modes.append(int((counts > 0.02 * len(samples)).sum()))
        nearest = torch.bincount(mode, minlength=len(centres))
        self.directions.append(int((nearest > 0.02 * len(samples)).sum()))
        self.good.append(good.double().mean().item())
        self.samples = samples

    def late(self, of_looks: list[int] | list[float]) -> float:
        """The mean over the last quarter of the looks."""
        return float(np.mean(of_looks[-LOOKS // 4 :]))


def trained(method: Method, at: Conditions) -> Seen:
    """Train by a method, and look at the generator's samples a dozen times."""
    torch.manual_seed(at.seed)
    centres, by_seed = toy_data.ring(RADIUS, DEVIATION)
    train = TrainParams.model_validate({"latent_dim": 16, "batch_size": 64, **method.section})
    opponent = "discriminator" if train.objective == "gan" else "critic"
    kernels = train.mlp.minibatch_kernels
    networks = {
        "generator": perceptron([16, WIDTH, WIDTH, 2]),
        opponent: Critic((2, 1, 1), 2, WIDTH, kernels=kernels),
    }
    training = Training(train, networks, by_seed(at.seed), at.seed)
    for role, rate in zip(("generator", opponent), method.rates, strict=True):
        training.optimizers[role].param_groups[0]["lr"] = rate
    seen, count = Seen(), at.at(*method.iterations, 25_000)
    for step in at.steps(count):
        training.iterate()
        if (step + 1) % math.ceil(count / LOOKS) == 0:
            seen.look(step + 1, training.samples(1000), centres)
    return seen


def study(at: Conditions) -> Finding:
    """Train by all six, and count the modes that each has found at its end."""
    seen = {name: trained(method, at) for name, method in METHODS.items()}
    numbers = []
    for name, of_method in seen.items():
        # Half of the modes is where few ends and most begins.
        low, high = (0.0, 4.0) if name == "gan" else (4.0, 8.0)
        paper = {"gan": "one at a time", "unrolled gan": "all"}.get(name, "")
        numbers.append(Number(f"modes of 8, {name}", of_method.late(of_method.modes), low, high,
                              paper))  # fmt: skip
    for name, low, high in (("gan", 0.0, 6.0), ("unrolled gan", 7.0, 8.0)):
        numbers.append(Number(f"directions of 8 with samples, {name}",
                              seen[name].late(seen[name].directions), low, high))  # fmt: skip
    return Finding(numbers, drawn(seen))


def drawn(seen: dict[str, Seen]) -> Figure:
    """The last samples of each method, then modes and good samples over the training."""
    figure, axes = drawing.panels(8, columns=4, height=0.95)
    centres, _ = toy_data.ring(RADIUS, DEVIATION)
    for one, (name, of_method) in zip(axes, seen.items(), strict=False):
        one.plot(*of_method.samples.T.numpy(), ".", markersize=2, alpha=0.5)
        one.plot(*centres.T.numpy(), "o", color=drawing.COLOURS[1], fillstyle="none")
        one.set_aspect("equal")
        one.set_xlim(-1.6, 1.6)
        one.set_ylim(-1.6, 1.6)
        drawing.named(one, f"{name}: {of_method.modes[-1]} of 8", "x", "y")
    for name, of_method in seen.items():
        share = np.array(of_method.at) / of_method.at[-1]
        axes[6].plot(share, of_method.modes, "-", linewidth=1.2, label=name)
        axes[7].plot(share, of_method.good, "-", linewidth=1.2)
    axes[6].set_ylim(-0.2, 15.0)
    axes[6].set_yticks([0, 2, 4, 6, 8])
    drawing.named(axes[6], "Modes found", "share of the training", "of 8", loc="upper left")
    axes[7].set_ylim(0.0, 1.0)
    drawing.named(axes[7], "Good samples", "share of the training", "share")
    return figure

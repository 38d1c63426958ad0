"""A fresh discriminator against generators of 1, 10 and 25 epochs (figures 2 and 3).

A generator is trained for some epochs and then stands still; a discriminator is trained from
scratch to tell its pictures from real ones. As it gets better, what the original cost
E[log(1 - D(G(z)))] tells the generator falls off: by theorem 2.4 its gradient is at most in
proportion to the discriminator's distance from the best one. The paper loses up to 5 orders of
magnitude within 4,000 steps, and less, the longer the generator was trained. The other cost,
E[-log D(G(z))], does not lose its gradient; it grows, and is unstable (theorem 2.6).

The paper has a DCGAN on photographs and leaves rates and sizes open. Here both are perceptrons on
the digits of 8 x 8 pixels (3 layers of 128, as monge has them by default) with Adam at 1e-3; the
discriminator of a DCGAN has too few numbers at 8 x 8 to become perfect. The gradient is that of
the generator's weights on 512 latents, its norm the Euclidean one. "Orders lost" are those from
the discriminator's 10th step, the first that is drawn, to its last, and the bound of 2 orders is
not the paper's 5, but what leaves a hundredth of the gradient: a step of the generator that nobody
would call one. Whether a longer training helps the generator is drawn and not decided upon.
"""

from __future__ import annotations

import numpy as np
import torch

from monge import nets, objectives
from monge.objectives import Noise
from monge.objectives.adversarial import Adversarial
from monge.params import TrainParams
from studies import drawing
from studies.bare_loop import Training
from studies.image_training import MLP, training
from studies.pictures import Pictures, digits_or
from studies.study import Conditions, Finding, Number, Study

STUDY = Study(
    title="The gradient vanishes as the discriminator gets better",
    source="Arjovsky and Bottou 2017, figures 2 and 3",
    claim="Against a discriminator trained from scratch, the original cost loses its gradient by "
    "orders of magnitude; -log D keeps it.",
    seconds=(9, 30),
    images=True,
)

EPOCHS = (1, 10, 25)
COSTS = {"minimax": "log(1 - D)", "non-saturating": "-log D"}
GAN = {"learning_rate": 1e-3}

Norms = dict[str, list[float]]


def section(cost: str) -> dict[str, object]:
    """The parameters of a training with one of the two costs of the generator."""
    return {"objective": "gan", **MLP, "gan": {**GAN, "loss": cost}}


def gradient_norm(of: Training, cost: str, seed: int = 7) -> float:
    """|d cost / d weights| of the generator that stands still, on 512 latents."""
    train = TrainParams.model_validate(section(cost))
    objective = objectives.build(train)
    assert isinstance(objective, Adversarial)
    latents = Noise(seed, train.latent_dim, torch.device("cpu")).latents(512)
    loss = objective.generator_loss(of.networks, of.optimizers, latents, None, latents)
    weights = list(of.networks["generator"].parameters())
    gradients = torch.autograd.grad(loss, weights)
    return float(torch.cat([g.flatten() for g in gradients]).norm())


def measured_at(steps: int) -> list[int]:
    """Steps from 10 on, at equal distances of their logarithm."""
    return sorted({round(step) for step in np.geomspace(10, steps, 25)})


def against_a_fresh_one(of: Training, pictures: Pictures, at: Conditions, steps: int) -> Norms:
    """The norms of both costs at the steps that are measured, by cost."""
    torch.manual_seed(at.seed + 100)
    fresh = nets.build("discriminator", of.train, pictures.shape)
    networks = {"generator": of.networks["generator"], "discriminator": fresh}
    against = Training(of.train, networks, of.real, at.seed + 100)
    norms: Norms = {cost: [] for cost in COSTS}
    places = measured_at(steps)
    for step in range(1, steps + 1):
        against.opponent_step()
        if step in places:
            for cost, found in norms.items():
                found.append(gradient_norm(against, cost))
    return norms


def study(at: Conditions) -> Finding:
    """Train the generator on, and after 1, 10 and 25 epochs have a fresh discriminator judge it."""
    pictures = digits_or(at)
    of = training(section("non-saturating"), pictures, at.seed)
    steps = at.at(600, 4000)
    batches = len(pictures) // of.train.batch_size
    found: dict[int, Norms] = {}
    for place in at.steps(len(EPOCHS)):
        while of.step < EPOCHS[place] * batches:
            of.iterate()
        found[EPOCHS[place]] = against_a_fresh_one(of, pictures, at, steps)

    figure, panels = drawing.panels(2, columns=2)
    for axes, (cost, name) in zip(panels, COSTS.items(), strict=True):
        for epochs, norms in found.items():
            name_of = "1 epoch" if epochs == 1 else f"{epochs} epochs"
            axes.loglog(measured_at(steps), norms[cost], label=name_of)
        drawing.named(axes, f"Gradient of {name}", "step of the discriminator", "norm")
    lowest = min(min(norms[cost]) for norms in found.values() for cost in COSTS)
    highest = max(max(norms[cost]) for norms in found.values() for cost in COSTS)
    for axes in panels:
        axes.set_ylim(lowest / 2.0, highest * 2.0)

    def lost(cost: str) -> list[float]:
        return [float(np.log10(n[cost][0] / n[cost][-1])) for n in found.values()]

    return Finding(
        [
            Number("orders of magnitude lost, log(1 - D), most of the three", max(lost("minimax")),
                   2.0, 12.0, "5 after 4,000 steps"),
            Number("the same, least of the three", min(lost("minimax")), 1.0, 12.0),
            Number("orders lost, -log D, most of the three", max(lost("non-saturating")), -3.0, 0.5,
                   "grows"),
        ],
        figure,
    )  # fmt: skip

"""The optimal discriminator, and what the generator then minimises (section 4, theorem 1).

For a fixed generator the best discriminator is

    D*(x) = p(x) / (p(x) + q(x))                                       (equation 2)

for real data of law p and generated ones of law q, and the value of the game there is

    C(G) = E_p[log D*] + E_q[log(1 - D*)] = 2 JS(p, q) - 2 log 2       (theorem 1).

What a generator follows is the gradient of its own cost, with D* as it is. Of the original cost
E_q[log(1 - D*)] it is that of 2 JS. Of the alternative E_q[-log D*] it is that of

    KL(q‖p) - 2 JS(p, q),

which pulls the two laws together and pushes them apart at once (Arjovsky and Bottou 2017, theorem
2.5). KL(q‖p) is dear where a sample lies where there are no data, and costs nothing where data are
left out, which is one reason that is given for the collapse of modes. As an identity of values,
before what does not depend on the generator's step is left out,

    E_q[-log D*] = KL(q‖p) - 2 JS(p, q) + 2 log 2 + E_p[log D*].

All of these are checked to rounding, with monge's own costs and divergences: p is a mixture of two
bumps and q one wide bump, each as whole numbers of samples on 31 points, so that means over samples
are sums over the law. Gradients are by the logits of q, those of the divergences by differences.
At last a discriminator that knows nothing of p and q is trained on samples; the loss alone leads it
to p / (p + q). Laws, network and length are chosen here; the paper's section 4 has none.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from monge.metrics.divergences import jensen_shannon, kullback_leibler
from monge.objectives import build
from monge.objectives.gan import Gan, cross_entropy, jensen_shannon_estimate
from monge.params import TrainParams
from studies import drawing
from studies.bare_loop import Training, perceptron
from studies.study import Conditions, Finding, Number, Study

STUDY = Study(
    title="The optimal discriminator, and what its generator minimises",
    source="Goodfellow et al. 2014, theorem 1; Arjovsky and Bottou 2017, theorem 2.5",
    claim="The best discriminator is p / (p + q), the game's value 2 JS - 2 log 2; the gradient of "
    "-log D is that of KL - 2 JS.",
    seconds=(5, 25),
)

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
X = np.linspace(-3.0, 3.0, 31)


def counts_of(heights: Floats, samples: int = 20_000) -> Counts:
    """Whole numbers of samples on the points, at least one on each, as heights have them."""
    counts: Counts = np.maximum(np.round(heights / heights.sum() * samples), 1.0).astype(np.int64)
    return counts


def laws() -> tuple[Counts, Counts]:
    """Count the samples of real and of generated data on each point, [k]."""

    def bump(mean: float, deviation: float) -> Floats:
        return np.asarray(np.exp(-(((X - mean) / deviation) ** 2) / 2.0) / deviation)

    return counts_of(bump(-1.5, 0.5) + bump(1.5, 0.5)), counts_of(bump(0.3, 1.2))


def on_samples(counts: Counts, of_points: Tensor) -> Tensor:
    """A number of each point [k] as one of each sample, [n]."""
    return of_points.repeat_interleave(torch.as_tensor(counts))


class Table(nn.Module):
    """Scores of numbered points: a discriminator that is known at each; [n] to [n]."""

    def __init__(self, scores: Floats) -> None:
        super().__init__()
        self.scores = torch.as_tensor(scores)

    def forward(self, numbers: Tensor) -> Tensor:
        return self.scores[numbers.long()]


def generator_costs(loss: str, logits: Floats) -> Floats:
    """Compute monge's generator loss of a sample on each point, [k], under these scores."""
    objective = build(TrainParams.model_validate({"objective": "gan", "gan": {"loss": loss}}))
    assert isinstance(objective, Gan)
    networks = {"generator": nn.Identity(), "discriminator": Table(logits)}
    points = torch.arange(len(logits), dtype=torch.float64)
    each = [objective.generator_loss(networks, {}, one, None, one) for one in points[:, None]]
    return torch.stack(each).numpy()


def by_logits(q: Floats, costs: Floats) -> Floats:
    """The gradient of Σ q costs by the logits of q, the costs as they are, [k]."""
    return q * (costs - q @ costs)


def by_differences(of_law: Callable[[Floats], float], q: Floats) -> Floats:
    """The gradient of a function of a law by the law's logits, [k], by central differences."""
    width = 1e-4

    def at(i: int, moved: float) -> float:
        law = q.copy()
        law[i] *= math.exp(moved)
        return of_law(law / law.sum())

    return np.array([(at(i, width) - at(i, -width)) / (2.0 * width) for i in range(len(q))])


def trained(p: Counts, q: Counts, at: Conditions) -> tuple[Floats, float]:
    """D of each point [k] and the estimate of JS, of a discriminator trained on samples."""
    torch.manual_seed(at.seed)
    real, fake = (on_samples(c, torch.as_tensor(X, dtype=torch.float32)) for c in (p, q))
    dice = torch.Generator().manual_seed(at.seed)
    train = TrainParams.model_validate(
        {"latent_dim": 1, "batch_size": 512, "objective": "gan", "gan": {"learning_rate": 3e-3}}
    )

    class Drawn(nn.Module):
        """Generated samples by latents' quantiles: a generator that stands still."""

        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(()))  # an optimizer wants something to optimize

        def forward(self, latents: Tensor) -> Tensor:
            place = (torch.special.ndtr(latents) * len(fake)).long().clamp(0, len(fake) - 1)
            return fake[place[:, 0]][:, None]

    def some(n: int) -> Tensor:
        return real[torch.randint(len(real), (n,), generator=dice)][:, None]

    networks = {"generator": Drawn(), "discriminator": perceptron([1, 64, 64, 1], nn.Tanh)}
    training = Training(train, networks, some, at.seed)
    steps = at.at(1000, 6000)
    for step in at.steps(steps):
        for group in training.optimizers["discriminator"].param_groups:
            group["lr"] = 3e-3 * (1.0 - step / steps)
        training.opponent_step()
    with torch.no_grad():
        discriminator = training.networks["discriminator"]
        scores = discriminator(torch.as_tensor(X, dtype=torch.float32)[:, None]).double()
        estimate = jensen_shannon_estimate(on_samples(p, scores), on_samples(q, scores))
    return torch.sigmoid(scores).numpy(), estimate.item()


def study(at: Conditions) -> Finding:
    """Put p / (p + q) into monge's losses, hold them against the divergences, and train one."""
    real, fake = laws()
    p, q = real / real.sum(), fake / fake.sum()
    best = p / (p + q)
    logits = np.log(p / q)
    js, kl = jensen_shannon(p, q), kullback_leibler(q, p)
    scores = torch.as_tensor(logits).requires_grad_()
    loss = cross_entropy(on_samples(real, scores), on_samples(fake, scores))
    (slope,) = torch.autograd.grad(loss, scores)
    original = generator_costs("minimax", logits)
    alternative = generator_costs("non-saturating", logits)
    of_original = by_logits(q, original) - by_differences(lambda law: 2 * jensen_shannon(p, law), q)
    of_alternative = by_logits(q, alternative) - by_differences(
        lambda law: kullback_leibler(law, p) - 2.0 * jensen_shannon(p, law), q
    )
    value = kl - 2.0 * js + 2.0 * math.log(2.0) + p @ np.log(best)
    learned, estimate = trained(real, fake, at)
    apart = np.abs(learned - best)
    exact = 1e-6
    numbers = [
        Number("steepest way down of the loss at p / (p + q)", slope.abs().max().item(), 0, 1e-12,
               "0"),
        Number("the value there, less 2 JS - 2 log 2",
               -loss.item() - 2.0 * js + 2.0 * math.log(2.0), -exact, exact, "0"),
        Number("gradient of E_q[log(1 - D*)], farthest from that of 2 JS",
               float(np.abs(of_original).max()), 0, exact, "0"),
        Number("E_q[-log D*], less KL - 2 JS + 2 log 2 + E_p[log D*]",
               float(q @ alternative) - value, -exact, exact, "0"),
        Number("gradient of E_q[-log D*], farthest from that of KL - 2 JS",
               float(np.abs(of_alternative).max()), 0, exact, "0"),
        # A network of two layers is smooth, and D* is not quite, where laws have a few samples.
        Number("a trained D, mean distance from p / (p + q)", float((p + q) @ apart) / 2.0, 0,
               0.03, "0"),
        Number("its estimate of JS, as a share of JS", estimate / js, 0.95, 1.0, "from below"),
    ]  # fmt: skip
    return Finding(numbers, drawn((p, q), best, learned))


def drawn(laws: tuple[Floats, Floats], best: Floats, learned: Floats) -> Figure:
    """Both laws, the discriminators, and both costs as generated data move away from real ones."""
    figure, (both, probability, costs) = drawing.panels(3, columns=3, height=0.95)
    for law, name in zip(laws, ("p, real", "q, generated"), strict=True):
        both.plot(X, law, label=name)
    both.set_ylim(0.0, 1.3 * max(laws[0].max(), laws[1].max()))
    drawing.named(both, "Two laws", "x", "mass")
    probability.plot(X, best, color="black", label="p / (p + q)")
    probability.plot(X, learned, "--", color=drawing.COLOURS[1], label="trained D")
    probability.set_ylim(0.0, 1.3)
    drawing.named(probability, "The discriminator", "x", "D(x)")
    shifts = np.linspace(-6.0, 6.0, 121)
    x = np.linspace(-15.0, 15.0, 1501)
    still = np.exp(-(x**2) / 2.0)
    js, kl = [], []
    for shift in shifts:
        moved = np.exp(-((x - shift) ** 2) / 2.0)
        js.append(jensen_shannon(still, moved))
        kl.append(kullback_leibler(moved, still))
    costs.plot(shifts, 2.0 * np.array(js), label="2 JS: what log(1 - D) follows")
    costs.plot(shifts, np.array(kl) - 2.0 * np.array(js), label="KL - 2 JS: what -log D follows")
    costs.set_ylim(-1.0, 16.0)
    drawing.named(costs, "N(0, 1) and N(θ, 1)", "θ", "nats", loc="upper center")
    return figure

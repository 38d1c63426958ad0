"""Asks which curve tells how good the pictures are (figures 3, 4 and 8).

The critic of a WGAN estimates a distance that falls as the samples get better, so its curve tells
when training goes well; the paper's figure 3 shows it by eye. In a GAN neither curve does: the
discriminator's estimate of the Jensen-Shannon divergence rises or stays near its most, log 2
(figure 4), and the generator's cost rises while the samples get better (figure 8).

The eye is replaced by a judge: the Fréchet distance of a thousand samples to the real digits in the
features of the product's classifier. Spearman's rank correlation of a curve and that distance over
the looks at a training decides; it is 1 where the curve falls whenever the distance does. A curve
that tells quality has more than 0.5 here, one that does not has less: the paper claims no strength,
and 0.5 is the middle between none and all. Looks begin after the first eighth, in which the critic
has yet to learn anything. Networks are perceptrons on the digits of 8 x 8 pixels, 3 layers of 128,
and a DCGAN of 16 features, at the quick size that alone, RMSProp at 5e-4 and a clip of 0.01 for the
WGAN, Adam at 2e-4 for the GAN. Curves are medians between looks, as the paper's are filtered.

With the DCGAN the claim holds for every seed. With the perceptron it does not: fourteen looks at a
short training are few, and what a curve does early, where samples get better fast, decides its rank
correlation. One seed of three has a Wasserstein estimate that tells nothing, another a GAN both of
whose curves fall with the distance. At the quick size the DCGAN's Jensen-Shannon estimate stays
under 0.04 of log 2, 0.69, and in which order values so near to nothing come says nothing.
"""

from __future__ import annotations

from typing import Any

from scipy.stats import spearmanr

from studies import drawing
from studies.image_training import DCGAN, MLP, Look, looks, training
from studies.pictures import Judge, digits_or
from studies.study import Conditions, Finding, Number, Study

STUDY = Study(
    title="Loss against quality",
    source="Arjovsky et al. 2017, figures 3, 4 and 8",
    claim="The Wasserstein estimate falls as samples get better; the Jensen-Shannon estimate and "
    "the generator's cost of a GAN do not.",
    seconds=(12, 200),
    images=True,
)

METHODS: dict[str, dict[str, Any]] = {
    "wgan": {"objective": "wgan", "wgan": {"learning_rate": 5e-4, "clip": 0.01}},
    "gan": {"objective": "gan", "gan": {"learning_rate": 2e-4}},
}
CURVES = {
    "wgan": {"wasserstein_estimate": "Wasserstein estimate"},
    "gan": {"jensen_shannon_estimate": "JS estimate", "generator_loss": "generator's cost"},
}
TELLS = 0.5
NETS = {"mlp": MLP, "dcgan": DCGAN}


def correlation(of: list[Look], curve: str) -> float:
    """Spearman's, of a curve and the judge's distance over the looks."""
    readings = [look.readings[curve] for look in of]
    return float(spearmanr(readings, [look.distance for look in of]).statistic)


def study(at: Conditions) -> Finding:
    """Train both with each kind of network, and rank the curves by how they follow the judge."""
    pictures = digits_or(at)
    judge = Judge(pictures)
    steps = {"wgan": at.at(128, 2000), "gan": at.at(256, 5000)}
    chosen = at.at(("dcgan",), ("mlp", "dcgan"))
    figure, panels = drawing.panels(3 * len(chosen))
    numbers, place = [], 0
    for net in chosen:
        for method, section in METHODS.items():
            of = training({**NETS[net], **section}, pictures, at.seed)
            after = range(steps[method] // 16, steps[method] + 1, steps[method] // 16)
            seen = looks(of, judge, at, after, n=at.at(500, 1000))[2:]
            for curve, name in CURVES[method].items():
                found = correlation(seen, curve)
                low, high = (TELLS, 1.0) if method == "wgan" else (-1.0, TELLS)
                numbers.append(Number(f"rank correlation, {name}, {net}", found, low, high,
                                      "clear" if method == "wgan" else "none"))  # fmt: skip
                axes = panels[place]
                axes.plot([look.readings[curve] for look in seen],
                          [look.distance for look in seen], ".-")  # fmt: skip
                drawing.named(axes, f"{method}, {net}: {found:.2f}", name, "judge's distance")
                place += 1
    return Finding(numbers, figure)

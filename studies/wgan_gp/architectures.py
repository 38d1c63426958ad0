"""Random architectures, by how many of them each method trains (section 5.1, tables 1 and 2).

The paper draws 200 generators and critics at random: the nonlinearity (ReLU, LeakyReLU, a smooth
softplus(2x + 2) / 2 - 1, tanh), the depth (4, 8, 12, 20), batch norm or none (layer norm in the
critic of WGAN-GP) and the number of filters (32, 64, 128), for both sides apart. It trains each
pair as a GAN and with the penalty, and calls a training a success where its score is above a
threshold. Table 2 counts the pairs that only one method trains, both, or neither: at a threshold of
3 there are 88 that only the penalty trains and one that only the GAN does.

Here they are perceptrons on the digits of 8 x 8 pixels, as trainings of convolutions would take
hours: 1, 2, 3 or 5 layers of 32, 64 or 128 (1 or 2 layers at the quick size), with everything else
drawn as there. The product's networks have none of these choices, so that they are built in this
script. The score is that of the product's classifier, from 1 to 10, and thresholds go from 1.5,
which noise does not pass, to 6, where hardly a pair comes in so short a training. Adam has the
paper's betas and a rate of 2e-3 for both, ten times the paper's for the GAN and twenty times for
the penalty. Both see as many real images: the GAN takes 5 iterations to one of the penalty's, whose
critic takes 5 steps, where the paper gives both as many iterations. The decay of normalised weights
(1e-3) is left out.

Both halves of the claim have a number, which is a share of all pairs and a mean over the
thresholds: those that only the penalty trains are many, over a tenth (0.54 of the paper's counts),
and those that only the GAN trains are few, under a tenth (0.001). The mean score is higher besides,
by half a point or more. At the default size there are two more numbers. One compares the penalty,
which is two-sided, with its one-sided form max(0, norm - 1)^2: the paper (section 4) found that
this matters little, and prefers the two-sided one by 100 architectures to 77. Little is taken as
half a point of the mean score. The other has those pairs alone whose discriminator has no batch
norm. One that has it sees real and generated batches each in their own statistics and trains
nearly nothing here, which is most of what the penalty gains; four such pairs were tried at rates of
2e-4 and 5e-3 besides, and none came to a score of 2. The claim is not to rest on these alone.

It holds for each of three seeds. The one-sided penalty scores a little higher for all three, where
the paper has the two-sided one a little ahead. The quick size has four pairs, which are few: one
seed of three has more that only the GAN trains there than are wanted, and less of a gain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn

from monge.params import TrainParams
from studies import drawing
from studies.bare_loop import Training
from studies.image_training import drawn_from
from studies.pictures import Judge, Pictures, digits_or, in_bytes
from studies.study import Conditions, Finding, Number, Study

STUDY = Study(
    title="Random architectures",
    source="Gulrajani et al. 2017, section 5.1, tables 1 and 2",
    claim="Of networks drawn at random WGAN-GP trains many that a GAN does not, and the GAN few "
    "that WGAN-GP does not; which side of 1 the penalty takes matters little.",
    seconds=(15, 190),
    full="200 pairs, nearly four times as long: hours",
    images=True,
)

LATENTS = 16
THRESHOLDS = np.arange(1.5, 6.5, 0.5)
"""Those of table 2, from where noise does not pass any more to where hardly a pair does."""

PENALTY, GAN, ONE_SIDED = "WGAN-GP", "GAN", "one-sided"
METHODS: dict[str, dict[str, Any]] = {
    PENALTY: {"objective": "wgan-gp", "wgan-gp": {"learning_rate": 2e-3}},
    GAN: {"objective": "gan", "gan": {"learning_rate": 2e-3}},
    ONE_SIDED: {
        "objective": "wgan-gp", "wgan-gp": {"learning_rate": 2e-3, "penalty": "one-sided"},
    },
}  # fmt: skip


class Softplus(nn.Module):
    """softplus(2x + 2) / 2 - 1: like a ReLU, with a second derivative everywhere (appendix B)."""

    def forward(self, x: Tensor) -> Tensor:
        """Element by element."""
        return F.softplus(2.0 * x + 2.0) / 2.0 - 1.0


# Table 1, the depths and widths those of perceptrons.
NONLINEARITIES: dict[str, Callable[[], nn.Module]] = {
    "ReLU": nn.ReLU, "LeakyReLU": lambda: nn.LeakyReLU(0.2), "softplus": Softplus, "tanh": nn.Tanh,
}  # fmt: skip
DEPTHS = (1, 2, 3, 5)
SHALLOW = DEPTHS[:2]
WIDTHS = (32, 64, 128)


@dataclass(frozen=True)
class Side:
    """The choices drawn for a generator, or for its opponent."""

    nonlinearity: str
    depth: int
    width: int
    normed: bool

    @classmethod
    def drawn(cls, dice: np.random.Generator, depths: Sequence[int]) -> Side:
        """Each choice on its own, all alike likely."""
        return cls(
            str(dice.choice(list(NONLINEARITIES))), int(dice.choice(depths)),
            int(dice.choice(WIDTHS)), bool(dice.integers(2)),
        )  # fmt: skip

    def layers(self, inputs: int, norm: type[nn.Module]) -> list[nn.Module]:
        """Linear, norm where there is one, nonlinearity; so many times."""
        made: list[nn.Module] = []
        for _ in range(self.depth):
            made.append(nn.Linear(inputs, self.width))
            if self.normed:
                made.append(norm(self.width))
            made.append(NONLINEARITIES[self.nonlinearity]())
            inputs = self.width
        return made


def networks(pair: tuple[Side, Side], method: str, shape: Sequence[int]) -> dict[str, nn.Module]:
    """Generator: latents to images; its opponent: images to scores [n]."""
    drawing_side, judging = pair
    pixels = int(np.prod(shape))
    generator = nn.Sequential(
        *drawing_side.layers(LATENTS, nn.BatchNorm1d), nn.Linear(drawing_side.width, pixels),
        nn.Tanh(), nn.Unflatten(1, tuple(shape)),
    )  # fmt: skip
    norm = nn.BatchNorm1d if method == GAN else nn.LayerNorm
    opponent = nn.Sequential(
        nn.Flatten(), *judging.layers(pixels, norm), nn.Linear(judging.width, 1), nn.Flatten(0)
    )
    return {"generator": generator, "discriminator" if method == GAN else "critic": opponent}


def score(
    pair: tuple[Side, Side], method: str, pictures: Pictures, judge: Judge, steps: int, seed: int
) -> float:
    """Score a thousand samples after training; 1, the least, where it went to nan."""
    torch.manual_seed(seed)
    train = TrainParams.model_validate({"latent_dim": LATENTS, **METHODS[method]})
    real = drawn_from(pictures.tensor(), seed)
    of = Training(train, networks(pair, method, pictures.shape), real, seed)
    for _ in range(5 * steps if method == GAN else steps):
        of.iterate()
    samples = of.samples(1000)
    return judge.score(in_bytes(samples)) if torch.isfinite(samples).all() else 1.0


def table(gan: np.ndarray, penalty: np.ndarray) -> np.ndarray:
    """Counts of only WGAN-GP, only GAN, both, neither by threshold (table 2): [thresholds, 4]."""
    by_gan, by_penalty = gan > THRESHOLDS[:, None], penalty > THRESHOLDS[:, None]
    each = by_penalty & ~by_gan, by_gan & ~by_penalty, by_gan & by_penalty, ~by_gan & ~by_penalty
    return np.stack([one.sum(1) for one in each], 1)


def study(at: Conditions) -> Finding:
    """Draw pairs of networks, train each by every method, and count."""
    pictures = digits_or(at)
    judge = Judge(pictures)
    dice, depths = at.dice(), at.at(SHALLOW, DEPTHS)
    pairs = [(Side.drawn(dice, depths), Side.drawn(dice, depths)) for _ in range(at.at(4, 14, 200))]
    steps = at.at(130, 280, 1000)
    scores = {name: np.ones(len(pairs)) for name in at.at((PENALTY, GAN), tuple(METHODS))}
    for index in at.steps(len(pairs)):
        for name, found in scores.items():
            found[index] = score(pairs[index], name, pictures, judge, steps, at.seed)
    counts = table(scores[GAN], scores[PENALTY])
    only_penalty, only_gan = (counts[:, :2].mean(0) / len(pairs)).tolist()
    gain = scores[PENALTY] - scores[GAN]
    numbers = [
        Number("share of pairs that only WGAN-GP trains", only_penalty, 0.1, 1.0, "0.54"),
        Number("share of pairs that only the GAN trains", only_gan, 0.0, 0.1, "0.001"),
        Number("mean score, WGAN-GP less GAN", float(gain.mean()), 0.5, 9.0, "higher"),
    ]
    plain = np.array([not judging.normed for _, judging in pairs])
    if ONE_SIDED in scores:
        sides = float((scores[PENALTY] - scores[ONE_SIDED]).mean())
        numbers.append(Number("mean score, two-sided less one-sided", sides, -0.5, 0.5, "small"))
        numbers.append(Number("mean score, WGAN-GP less GAN, no batch norm in the discriminator",
                              float(gain[plain].mean()), 0.0, 9.0))  # fmt: skip
    return Finding(numbers, drawn(counts, scores, plain))


def drawn(counts: np.ndarray, scores: dict[str, np.ndarray], plain: np.ndarray) -> Figure:
    """Table 2 as bars, the scores of each pair, and all scores in order."""
    figure, (table_2, paired, ordered) = drawing.panels(3)
    below = np.zeros(len(THRESHOLDS))
    names = ("only WGAN-GP", "only GAN", "both", "neither")
    colours = (*drawing.COLOURS[:3], "#d9d9d9")
    for name, colour, count in zip(names, colours, counts.T, strict=True):
        bars = table_2.bar(THRESHOLDS, count, 0.42, below, color=colour, label=name)
        table_2.bar_label(bars, [str(n or "") for n in count], label_type="center", fontsize=7)
        below += count
    drawing.named(table_2, "Pairs that each method trains", "score asked for", "pairs of networks",
                  loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)  # fmt: skip
    for kind, name in ((plain, "no batch norm"), (~plain, "batch norm")):
        paired.plot(scores[GAN][kind], scores[PENALTY][kind], "o", alpha=0.7,
                    label=f"discriminator with {name}")  # fmt: skip
    top = max(found.max() for found in scores.values())
    paired.plot([1.0, top], [1.0, top], color=drawing.COLOURS[5], linewidth=0.8)
    drawing.named(paired, "Each pair of networks", "score, GAN", "score, WGAN-GP")
    for name, found in scores.items():
        ordered.plot(np.arange(1, len(found) + 1), np.sort(found)[::-1], ".-", label=name)
    drawing.named(ordered, "Scores, the best first", "pair of networks", "score")
    table_2.locator_params("y", integer=True)
    ordered.locator_params("x", integer=True)
    return figure

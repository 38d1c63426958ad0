"""Training and validation loss on a thousand digits (section 5.6, figure 5b).

The critic's negative loss estimates a distance between real and generated images. Trained on few
real images, a critic learns them by heart: on those its negative loss stays high, on images that
it has not seen it falls, and the two part. The paper shows it with a random thousand of MNIST and
"large unregularized" networks, for clipping and for the penalty alike; which networks and rates is
left open. The gap tells that a critic overfits, and faster than the generator does.

Here it is 1,000 of scikit-learn's digits against the 797 others (at the quick size 200 against
1,597, which a critic knows sooner), perceptrons of 3 layers of 128 for critic and generator, no
decay, and Adam at 1e-3 for the penalty, RMSProp at 5e-4 with a clip of 0.01 for clipping. The loss
of the critic is measured on all of both sets, and against 1,000 generated images; the penalty's own
term is left out. The gap is the share of the training estimate that the validation estimate lacks:
0 where the critic knows no difference, 1 where it sees none left between new digits and generated
ones. It is asked to be more than a tenth at the end, which is about what an eye sees in the
picture, and to have grown by half of that. The validation's turn is how far its estimate has
fallen, at the end, from its highest.

With the penalty the claim holds. With clipping it does not hold here: the gap stays under a tenth
and does not grow. The critic is small, and a clip of 0.01 leaves it functions too simple to know a
thousand images by heart; the paper's networks were large. Its validation estimate does fall, but
the training estimate falls with it, as it should where samples get better.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.ndimage import median_filter
from torch import Tensor

from monge.objectives.wasserstein import wasserstein_estimate
from studies import drawing
from studies.bare_loop import Training
from studies.image_training import MLP, training
from studies.pictures import Pictures, digits_or
from studies.study import Conditions, Finding, Number, Study

STUDY = Study(
    title="Critics overfit: training and validation loss",
    source="Gulrajani et al. 2017, section 5.6 and figure 5b",
    claim="On a thousand digits the critic's loss on the training set and on held-out digits part, "
    "under clipping and under the penalty.",
    seconds=(12, 90),
    images=True,
)

METHODS = {
    "penalty": {**MLP, "objective": "wgan-gp", "wgan-gp": {"learning_rate": 1e-3}},
    "clipping": {**MLP, "objective": "wgan", "wgan": {"learning_rate": 5e-4, "clip": 0.01}},
}


@dataclass
class Curves:
    """The critic's estimates [k] on known and on new images, by step."""

    steps: list[int] = field(default_factory=list)
    known: list[float] = field(default_factory=list)
    new: list[float] = field(default_factory=list)

    def gaps(self) -> np.ndarray:
        """The share of the training estimate that the validation estimate lacks, smoothed."""
        shares: np.ndarray = 1.0 - smooth(self.new) / smooth(self.known)
        return shares


def smooth(curve: list[float]) -> np.ndarray:
    """The median of five points, as the paper's curves are filtered."""
    middle: np.ndarray = median_filter(np.array(curve), 5, mode="nearest")
    return middle


@torch.no_grad()
def estimate(of: Training, real: Tensor, fake: Tensor) -> float:
    """E_r[f] - E_g[f] on all of these (Gulrajani et al. 2017, equation 2)."""
    critic = of.networks["critic"]
    return float(wasserstein_estimate(critic(real), critic(fake)))


def curves(method: str, known: Pictures, new: Pictures, steps: int, at: Conditions) -> Curves:
    """Train on the known images; 60 times in it, both estimates."""
    of = training(METHODS[method], known, at.seed)
    sets = known.tensor(), new.tensor()
    seen = Curves()
    every = steps // 60
    for step in at.steps(steps):
        of.iterate()
        if (step + 1) % every == 0:
            fake = of.samples(1000, seed=step)
            seen.steps.append(step + 1)
            seen.known.append(estimate(of, sets[0], fake))
            seen.new.append(estimate(of, sets[1], fake))
    return seen


def study(at: Conditions) -> Finding:
    """Train both on a random thousand, and compare what they say of it and of the others."""
    pictures = digits_or(at)
    order = at.dice().permutation(len(pictures))
    few = at.at(200, 1000)
    known, new = pictures.of(order[:few]), pictures.of(order[few:])
    steps = at.at(240, 2400)
    figure, panels = drawing.panels(2, columns=2)
    numbers = []
    for axes, method in zip(panels, METHODS, strict=True):
        seen = curves(method, known, new, steps, at)
        axes.plot(seen.steps, seen.known, label="training set")
        axes.plot(seen.steps, seen.new, label="validation set")
        axes.set_ylim(bottom=0.0)
        drawing.named(axes, f"Weight {method}" if method == "clipping" else "Gradient penalty",
                      "generator iterations", "negative critic loss")  # fmt: skip
        gaps = seen.gaps()
        early, late = float(np.median(gaps[3:8])), float(np.median(gaps[-5:]))
        new_ones = smooth(seen.new)
        numbers += [
            Number(f"gap at the end, {method}", late, 0.1, 1.5, "clear in both curves"),
            Number(f"gap at the end less that at the start, {method}", late - early, 0.05, 1.5),
            Number(f"validation estimate at the end, share of its highest, {method}",
                   float(new_ones[-1] / new_ones.max()), -0.5, 0.9, "falls"),
        ]  # fmt: skip
    return Finding(numbers, figure)

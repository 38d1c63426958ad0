"""Techniques against a GAN's troubles, one by one (section 3, table 3).

Salimans et al. list five techniques that make a GAN's training more stable; Weng's article has the
same list and adds noise on what the discriminator sees, from Arjovsky and Bottou. Each of them is
an option of the product's GAN, and is here added alone to one and the same training:

    feature matching           |E f(x) - E f(G(z))|² for the generator's cost     (section 3.1)
    minibatch discrimination   16 rows of closeness beside the features           (section 3.2)
    historical averaging       c |θ - mean of its past|² in both costs            (section 3.3)
    label smoothing            a real image's target is 0.9, a fake one's 0       (section 3.4)
    virtual batch norm         the generator's norms, by a reference batch        (section 3.5)
    noise                      of deviation 0.3 on all images, falling to none    (Weng, item 6)

The last row has the second, third and fourth at once, as their full method has. The paper's table 3
goes the other way: it takes techniques out of a full method that learns from labels, too, and the
Inception score on CIFAR-10, 8.09, falls, by much without minibatch features. Here the same is asked
of small pictures without labels: whether the score rises by what is put in.

The training is a DCGAN of 16 features with batch norm on both sides on the digits, Adam at 1e-3 and
batches of 64; the score is that of the product's classifier, of 10. The coefficient c, the noise
and its schedule are left open by the sources; c is 1e-3. A score is the mean of the looks in the
last third of a training. A change is taken seed by seed, against a plain GAN of the same first
weights and random numbers: its mean over the seeds of the run is wanted above zero, and so is the
least of any seed, which tells whether what is seen is more than chance.

Minibatch discrimination raises the score by far the most, with every seed of every run: what the
plain GAN lacks on these digits is variety. What the others change is within what seeds differ by,
some tenths of a point of ten: in one run of three seeds feature matching, historical averaging and
noise rise with each, in another none does; virtual batch norm is the plain norm's equal here, or
a little worse. So the claim holds for minibatch discrimination, and for the others it is not
decided at this size. The quick size ends before any of that is to be seen: of these it says
nothing. And what helps depends on the networks: to perceptrons of three layers of 128 (at 2e-3,
2,400 iterations, three seeds) minibatch discrimination does harm, and leaves them at a score of 1.5
where the plain GAN comes to 6.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from studies import drawing
from studies.image_training import DCGAN, Look, looks, training
from studies.pictures import Judge, Pictures, digits_or, show
from studies.study import Conditions, Finding, Number, Study

STUDY = Study(
    title="Techniques one by one",
    source="Salimans et al. 2016, section 3 and table 3; Weng 2017",
    claim="Feature matching, minibatch discrimination, historical averaging, one-sided label "
    "smoothing, virtual batch norm and noise each raise a GAN's score.",
    seconds=(14, 140),
    images=True,
)

PLAIN = "plain GAN"
TECHNIQUES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    PLAIN: ({}, {}),
    "feature matching": ({"feature_matching": True}, {}),
    "minibatch discrimination": ({}, {"minibatch_kernels": 16}),
    "historical averaging": ({"historical_averaging": 1e-3}, {}),
    "label smoothing": ({"label_smoothing": 0.1}, {}),
    "virtual batch norm": ({}, {"generator_norm": "virtual"}),
    "noise": ({"instance_noise": 0.3}, {}),
    "three together": (
        {"historical_averaging": 1e-3, "label_smoothing": 0.1}, {"minibatch_kernels": 16},
    ),
}  # fmt: skip
"""Each one's options of the method, and of the networks."""

Floats = NDArray[np.float64]


def seen(name: str, pictures: Pictures, judge: Judge, at: Conditions) -> list[list[Look]]:
    """For each seed of the run, the looks at a training with this technique: [seeds][looks]."""
    of_method, of_net = TECHNIQUES[name]
    steps, seeds, count = at.at((72, 2, 6), (600, 3, 12))
    section = {
        **DCGAN, "objective": "gan", "gan": {"learning_rate": 1e-3, **of_method}, "steps": steps,
        "dcgan": {"features": 16, "critic_norm": "batch", **of_net},
    }  # fmt: skip
    after = range(steps // count, steps + 1, steps // count)
    return [
        looks(training(section, pictures, seed), judge, at, after, n=500)
        for seed in range(seeds * at.seed, seeds * (at.seed + 1))
    ]


def scores(of: list[list[Look]]) -> Floats:
    """The score of each seed, [seeds]: the mean of the last third of the looks."""
    last = [[look.score for look in one[-len(one) // 3 :]] for one in of]
    mean: Floats = np.mean(last, axis=1)
    return mean


def study(at: Conditions) -> Finding:
    """Train with each, and compare the scores with those of the plain GAN, seed by seed."""
    pictures = digits_or(at)
    judge = Judge(pictures)
    found = {name: seen(name, pictures, judge, at) for name in TECHNIQUES}
    changes = {name: scores(of) - scores(found[PLAIN]) for name, of in found.items()}
    numbers = []
    for name in list(TECHNIQUES)[1:]:
        numbers += [
            Number(f"change of score, mean of seeds, {name}", float(changes[name].mean()),
                   0.0, 9.0, "above"),
            Number(f"change of score, least of any seed, {name}", float(changes[name].min()),
                   0.0, 9.0),
        ]  # fmt: skip
    return Finding(numbers, drawn(found, changes, pictures))


def drawn(
    found: dict[str, list[list[Look]]], changes: dict[str, Floats], pictures: Pictures
) -> Figure:
    """The changes with those of each seed, the scores over the training, and samples."""
    figure, panels = drawing.panels(6)
    names = list(found)[1:]
    for row, name in enumerate(names):
        panels[0].barh(row, changes[name].mean(), color=drawing.COLOURS[0], alpha=0.35)
        panels[0].plot(changes[name], np.full(len(changes[name]), row), ".",
                       color=drawing.COLOURS[1])  # fmt: skip
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    drawing.named(panels[0], f"Change against the {PLAIN}", "score; dots are seeds")
    for name, of in found.items():
        middle = np.mean([[look.score for look in one] for one in of], axis=0)
        panels[1].plot([look.step for look in of[0]], middle, label=name, linewidth=1.2)
    top = panels[1].get_ylim()[1]
    panels[1].set_ylim(top=1.9 * top)
    drawing.named(panels[1], "Score, mean of seeds", "iterations", "of 10", loc="upper left",
                  ncols=1)  # fmt: skip
    show(panels[2], pictures.images[:32], "real digits")
    for axes, name in zip(panels[3:], (PLAIN, "minibatch discrimination", "label smoothing"),
                          strict=True):  # fmt: skip
        show(axes, found[name][0][-1].images[:32], f"{name}: {found[name][0][-1].score:.1f}")
    return figure

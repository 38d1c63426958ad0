"""Nine hundred small pictures, after 7, 21 and 49 epochs (figure 10).

The article trains a DCGAN on some 900 sprites of Pokémon and shows samples after 7, 21 and 49
epochs: rough shapes without details, because the pictures are few, and better with every look. It
has no number and no other way to train. Here a judge measures the samples, and the same training
is done with its images augmented, real and generated ones alike (Zhao et al. 2020), which came
later, for just so few pictures.

The sprites are not ours to give away: 900 are made in their place, of 16 x 16 pixels and in
colours, each a body of noise that is mirrored left to right and has two eyes, or `--images DIR`
names others, of which the first 900 are taken. Batches of 64 and Adam at 2e-4 with β1 = 0.5 are
those of the code that the article uses; the networks are smaller (16 features) to be done in
minutes, and at the quick size there are 8 features and 600 sprites. The judge is the Fréchet
distance in the features of the network that comes with the package. "Better with every look" is
decided by ratios above 1 of the distance before to that after. Augmentation is not the article's,
so whether it helps within 49 epochs is drawn, and nothing is decided by it; the quick size leaves
it out.
"""

from __future__ import annotations

import numpy as np

from studies import drawing
from studies.image_training import Look, looks, training
from studies.pictures import Images, Judge, Pictures, digits_or, show
from studies.study import Conditions, Finding, Number, Study

STUDY = Study(
    title="Nine hundred sprites",
    source="Weng 2017, figure 10",
    claim="A DCGAN draws better sprites after 21 epochs than after 7, and after 49 than after 21.",
    seconds=(12, 50),
    images=True,
)

SPRITES, SIDE = 900, 16
EPOCHS = (7, 21, 49)
BATCH = 64
GAN = {
    "objective": "gan", "gan": {"learning_rate": 2e-4}, "net": "dcgan", "latent_dim": 16,
    "batch_size": BATCH,
}  # fmt: skip
WAYS = {"none": "as they are", "diffaugment": "augmented"}


def sprites(n: int) -> Images:
    """Made sprites uint8 [n, 3, 16, 16]: a mirrored body of one colour, an outline, two eyes."""
    dice = np.random.default_rng(1781)
    down, across = np.mgrid[0:SIDE, 0 : SIDE // 2]
    made = np.empty((n, 3, SIDE, SIDE), np.uint8)
    for picture in made:
        heights, widths = dice.uniform(4.0, 7.0), dice.uniform(3.5, 7.0)
        inside = ((down - 7.5) / heights) ** 2 + ((across - 7.5) / widths) ** 2
        body = inside + dice.normal(0.0, 0.18, inside.shape) < 1.0
        colour = dice.uniform(60.0, 255.0, 3)
        shade = np.clip(1.15 - 0.5 * down / SIDE, 0.0, 1.0)
        half = np.where(body, colour[:, None, None] * shade, 255.0)
        eye = dice.integers(4, 8), dice.integers(4, 7)
        half[:, eye[0] : eye[0] + 2, eye[1]] = 0.0
        picture[:] = np.concatenate([half, half[:, :, ::-1]], 2)
    return made


def study(at: Conditions) -> Finding:
    """Train with and without augmentation, and look after 7, 21 and 49 epochs."""
    made = (
        digits_or(at, SIDE, "rgb", SPRITES) if at.images else Pictures(sprites(at.at(600, SPRITES)))
    )
    pictures = Pictures(made.images)  # classes would be told by another judge
    judge = Judge(pictures)
    features, ways = at.at(8, 16), at.at(("none",), ("none", "diffaugment"))
    found = {WAYS[way]: seen(way, features, pictures, judge, at) for way in ways}
    columns = 5 if len(ways) == 1 else 4
    figure, panels = drawing.panels(columns * len(ways), columns)
    show(panels[0], pictures.images[:32], "real sprites")
    for axes, look in zip(panels[1:4], found["as they are"], strict=True):
        show(axes, look.images[:32], f"{epochs_of(look, pictures)} epochs")
    for name, of in found.items():
        epochs = [epochs_of(look, pictures) for look in of]
        panels[4].plot(epochs, [look.distance for look in of], "o-", label=name)
    panels[4].set_ylim(bottom=0.0)
    drawing.named(panels[4], "Distance to the real ones", "epochs", "Fréchet distance")
    for axes, look in zip(panels[5:], found.get(WAYS["diffaugment"], ()), strict=True):
        show(axes, look.images[:32], f"augmented, {epochs_of(look, pictures)} epochs")
    at_7, at_21, at_49 = (look.distance for look in found["as they are"])
    return Finding(
        [
            Number("distance after 7 epochs to that after 21", at_7 / at_21, 1.0, 50.0, "better"),
            Number("distance after 21 epochs to that after 49", at_21 / at_49, 1.0, 50.0, "better"),
        ],
        figure,
    )


def seen(
    augment: str, features: int, pictures: Pictures, judge: Judge, at: Conditions
) -> list[Look]:
    """The three looks at a training."""
    section = {**GAN, "augment": augment, "dcgan": {"features": features}}
    of = training(section, pictures, at.seed)
    batches = len(pictures) // of.train.batch_size
    return looks(of, judge, at, [epochs * batches for epochs in EPOCHS], n=300)


def epochs_of(look: Look, pictures: Pictures) -> int:
    """Count the epochs of the pictures that a training had seen."""
    return look.step // (len(pictures) // BATCH)

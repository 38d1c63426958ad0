"""Lines of text from latents, one softmax a character (section 5.5, table 4).

A generator that writes characters has discrete outputs, and a GAN's gradient comes through
continuous ones. Gulrajani et al. let it put out a softmax over the characters of each place, with
no discrete sampling step. Real text is one-hot vectors, corners of that simplex, and a
discriminator tells them from softmaxes at once. A Wasserstein distance to the corners falls as
softmaxes come near the right ones, so the critic has a gradient for the generator, while the
Jensen-Shannon divergence is at its most for as long as the two do not meet. Their model writes 32
characters of the Billion Word corpus; they "were unable to achieve comparable results with the
standard GAN objective and a continuous generator".

The text here is what Python's own documentation says of its topics: paragraphs of prose, 32
symbols (a blank, letters without case, four marks, and one for all others), and lines that begin
with a word and are 32 characters long (12 at the quick size). The networks are those of the
authors' code made small: one residual block of two convolutions, width 5, x + 0.3 f(x), on 64
channels in their place of five on 512 (at the quick size 32), critic and generator alike, without
any norm. Batches of 64 (32), λ = 10, five critic steps, and Adam at 1e-3 (2e-3) for their 1e-4,
since the networks are narrower; β1 is 0, as in the paper's Algorithm 1, where their code has 0.5.
The GAN has the same networks, Adam as in Radford et al. 2016, and as many discriminator steps.

What decides is their monitor, the Jensen-Shannon divergence in bits of the n-grams of 640 samples
against those of paragraphs that no training has seen: 0 where text is alike, 1 where it has no
n-gram in common. With the penalty it is to come to lie between that of 640 real lines and that of
the generator's start, which are the two that are wanted; a GAN that fails has what it began with,
or worse. Samples are the likeliest character of each place. A generator that has yet to find a
character writes it everywhere for a while, so divergences are medians over the last third of the
looks.

Characters come one by one, then pairs of them, then short words; after 800 iterations (the paper
has 200,000) four in a row are still mostly none of English. The GAN ends on one character, which it
writes at every place, and its discriminator's estimate of the divergence at log 2; with a learning
rate of 1e-4 as well, with 1e-3 on a few letters.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from monge.metrics.divergences import jensen_shannon
from monge.params import TrainParams
from studies import drawing
from studies.bare_loop import Training
from studies.image_training import drawn_from
from studies.study import Conditions, Finding, Number, Study

STUDY = Study(
    title="A language model of characters",
    source="Gulrajani et al. 2017, section 5.5 and table 4",
    claim="With the gradient penalty a generator learns to write characters through its softmax; a "
    "GAN of the same networks does not.",
    seconds=(12, 240),
)

CHARACTERS = " abcdefghijklmnopqrstuvwxyz.,'\"?"
"""The last stands for all that is not among the others."""

LATENTS, SAMPLES, LOOKS = 64, 640, 12
ORDERS = (1, 2, 3, 4)
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Size:
    """The size of a run: characters a line, channels, batch, rate, iterations of wgan-gp."""

    length: int
    width: int
    batch: int
    rate: float
    iterations: int


@dataclass
class Seen:
    """The divergences of each order at each look, and the last samples, int64 [n, length]."""

    steps: list[int] = field(default_factory=list)
    divergences: list[list[float]] = field(default_factory=list)
    samples: Codes = field(default_factory=lambda: np.zeros((0, 0), np.int64))

    def late(self) -> NDArray[np.float64]:
        """The median of each order over the last third of the looks."""
        middle: NDArray[np.float64] = np.median(self.divergences[-LOOKS // 3 :], axis=0)
        return middle


class Block(nn.Module):
    """x + 0.3 f(x) on [n, width, length]: ReLU, convolution of 5, and both again."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.ReLU(), nn.Conv1d(width, width, 5, padding=2),
            nn.ReLU(), nn.Conv1d(width, width, 5, padding=2),
        )  # fmt: skip

    def forward(self, maps: Tensor) -> Tensor:
        mapped: Tensor = maps + 0.3 * self.net(maps)
        return mapped


def generator(size: Size) -> nn.Module:
    """Latents [n, 64] to the chances of each character at each place, [n, 32, 1, length]."""
    return nn.Sequential(
        nn.Linear(LATENTS, size.width * size.length), nn.Unflatten(1, (size.width, size.length)),
        Block(size.width), nn.Conv1d(size.width, len(CHARACTERS), 1), nn.Softmax(1),
        nn.Unflatten(2, (1, size.length)),
    )  # fmt: skip


def critic(size: Size) -> nn.Module:
    """Text as the generator writes it to scores [n]."""
    return nn.Sequential(
        nn.Flatten(2), nn.Conv1d(len(CHARACTERS), size.width, 1), Block(size.width),
        nn.Flatten(), nn.Linear(size.width * size.length, 1), nn.Flatten(0),
    )  # fmt: skip


def paragraphs() -> list[str]:
    """Those of the documentation that are prose: but for a few signs, letters and blanks."""
    blocks = [block for topic in topics.values() for block in re.split(r"\n\s*\n", topic)]
    joined = [" ".join(block.split()) for block in blocks]
    prose = [sum(c.isalpha() or c == " " for c in text) > 0.93 * len(text) for text in joined]
    return [text for text, is_prose in zip(joined, prose, strict=True) if is_prose]


def lines(texts: Sequence[str], length: int) -> Codes:
    """All lines of so many characters that begin with a word, as places in CHARACTERS."""
    place = {character: i for i, character in enumerate(CHARACTERS)}
    found = []
    for text in texts:
        codes = [place.get(character, len(CHARACTERS) - 1) for character in text.lower()]
        starts = [0, *(blank.end() for blank in re.finditer(" ", text))]
        found += [codes[i : i + length] for i in starts if i + length <= len(codes)]
    return np.array(found, np.int64)


def ngrams(codes: Codes, n: int) -> Codes:
    """A number for each row of n characters, int64 [rows]."""
    windows = np.lib.stride_tricks.sliding_window_view(codes, n, axis=1)
    numbers: Codes = (windows @ (len(CHARACTERS) ** np.arange(n))).ravel()
    return numbers


def divergences(codes: Codes, held_out: Codes) -> list[float]:
    """JS of the n-grams of two sets of lines, in bits, for each order n."""
    found = []
    for n in ORDERS:
        sets = ngrams(codes, n), ngrams(held_out, n)
        seen, place = np.unique(np.concatenate(sets), return_inverse=True)
        counts = (
            np.bincount(some, minlength=len(seen)) for some in np.split(place, [sets[0].size])
        )
        found.append(min(jensen_shannon(*counts) / math.log(2.0), 1.0))  # roundings go beyond
    return found


def one_hot(codes: Codes) -> Tensor:
    """Lines [n, length] as "images" float32 [n, 32, 1, length]."""
    return F.one_hot(torch.from_numpy(codes), len(CHARACTERS)).mT[:, :, None].float()


def trained(section: dict[str, Any], size: Size, texts: Sequence[Codes], at: Conditions) -> Seen:
    """Train on the first of two sets of lines, and look at samples against the second."""
    known, held_out = texts
    torch.manual_seed(at.seed)
    train = TrainParams.model_validate({"latent_dim": LATENTS, "batch_size": size.batch, **section})
    gan = train.objective == "gan"
    networks = {"generator": generator(size), "discriminator" if gan else "critic": critic(size)}
    of = Training(train, networks, drawn_from(one_hot(known), at.seed), at.seed)
    # As many steps of the opponent: a GAN takes one an iteration.
    every = size.iterations * (train.wgan_gp.critic_steps if gan else 1) // LOOKS
    seen = Seen()
    look(seen, of, held_out)
    for step in at.steps(every * LOOKS):
        of.iterate()
        if (step + 1) % every == 0:
            look(seen, of, held_out)
    return seen


def look(seen: Seen, of: Training, held_out: Codes) -> None:
    """Note what the generator writes now: the likeliest character of each place."""
    seen.samples = of.samples(SAMPLES).argmax(1)[:, 0].numpy()
    seen.steps.append(of.step)
    seen.divergences.append(divergences(seen.samples, held_out))


def study(at: Conditions) -> Finding:
    """Train both, and compare their n-grams with those of new text."""
    size = at.at(Size(12, 32, 32, 2e-3, 132), Size(32, 64, 64, 1e-3, 800))
    texts = [text for text in paragraphs() if len(text) > 2 * size.length]
    order = at.dice().permutation(len(texts))
    held_out, known = (
        lines([texts[i] for i in some], size.length)
        for some in np.split(order, [len(texts) // 5])
    )  # fmt: skip
    sections: dict[str, dict[str, Any]] = {
        "wgan-gp": {"objective": "wgan-gp", "wgan-gp": {"learning_rate": size.rate}},
        "gan": {"objective": "gan"},
    }
    found = {name: trained(section, size, (known, held_out), at)
             for name, section in sections.items()}  # fmt: skip
    real = known[at.dice().permutation(len(known))[:SAMPLES]]
    floor, start = divergences(real, held_out), found["wgan-gp"].divergences[0]
    late = {name: seen.late() for name, seen in found.items()}
    numbers = []
    for i, n in enumerate(ORDERS):
        numbers += [
            Number(f"JS of {n}-grams in bits, wgan-gp", float(late["wgan-gp"][i]), floor[i],
                   start[i]),
            Number(f"JS of {n}-grams in bits, gan", float(late["gan"][i]), start[i], 1.0),
        ]  # fmt: skip
    return Finding(numbers, drawn(found, real, floor))


def drawn(found: dict[str, Seen], real: Codes, floor: list[float]) -> Figure:
    """The divergences over the training, and lines that each writes."""
    figure, panels = drawing.panels(5)
    for axes, (name, seen) in zip(panels[:2], found.items(), strict=True):
        for i, n in enumerate(ORDERS):
            colour = drawing.COLOURS[i]
            axes.plot(seen.steps, [one[i] for one in seen.divergences], color=colour,
                      label=f"{n}-grams")  # fmt: skip
            axes.axhline(floor[i], color=colour, linestyle=":", linewidth=1.0)
        axes.set_ylim(0.0, 1.35)
        axes.set_yticks([0.0, 0.25, 0.5, 0.75, 1.0])
        drawing.named(axes, f"{name} (dotted: real text)", "generator iterations", "JS in bits",
                      ncols=2, loc="upper center")  # fmt: skip
    written(panels[2], found["wgan-gp"].samples, "wgan-gp writes")
    written(panels[3], found["gan"].samples, "gan writes")
    written(panels[4], real, "real text")
    return figure


def written(axes: Axes, codes: Codes, title: str, count: int = 14) -> None:
    """Some of the lines as text."""
    shown = "\n".join("".join(CHARACTERS[code] for code in line) for line in codes[:count])
    axes.text(0.0, 1.0, shown, family="monospace", fontsize=8, va="top", transform=axes.transAxes,
              parse_math=False)  # fmt: skip
    axes.set_axis_off()
    axes.set_title(title, fontsize=10)

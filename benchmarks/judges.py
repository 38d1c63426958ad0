"""Whether the figure that decides puts known sets of images in the right order, feature by feature.

    python -m benchmarks.judges
    python -m benchmarks.judges --archive cifar10.tar.xz --only photographs drawings --sides 32

Sets whose order is beyond dispute are judged like a generator: noise of the right spectrum, the
mean image, real images blurred strongly (an eighth of the side) and slightly (a thirty-second),
real images of half of the classes, and held-out real ones. A step of the order is right when the
Fréchet distance rises by three standard errors. `self` is a candidate that `monge evaluate` does
not take: the feature classifier, trained on labels that it makes itself.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Bytes = NDArray[np.uint8]
Labels = NDArray[np.int64]

RESULTS = Path(__file__).parent / "results" / "judges.json"
KINDS = ("digits", "photographs", "drawings", "icons")
JUDGES = ("random", "pyramid", "classifier", "self")
IMAGES, SUBSETS, ERRORS = 3500, 5, 3.0
STEPS = (
    ("real", "blurred slightly"), ("blurred slightly", "blurred strongly"),
    ("blurred strongly", "mean image"), ("real", "classes left out"),
    ("classes left out", "mean image"), ("blurred slightly", "noise"),
    ("classes left out", "noise"),
)  # fmt: skip


class Row(NamedTuple):
    """Mean distance and standard error of each set, and the steps of the order that are wrong."""

    found: dict[str, tuple[float, float]]
    wrong: list[str]


@dataclass
class Made:
    """Images uint8 [n, C, H, W] with labels [n], as the extractors ask for them."""

    images: Bytes
    labels: Labels | None

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: NDArray[np.integer[Any]]) -> Bytes:
        chosen: Bytes = self.images[indices]
        return chosen


def digits(side: int, _: str) -> tuple[Bytes, Labels]:
    from sklearn.datasets import load_digits

    found = load_digits()
    small = np.rint(found.images * 255 / 16).astype(np.uint8)
    drawn = [np.asarray(Image.fromarray(x).resize((side, side))) for x in small]
    return np.stack(drawn)[:, None], found.target.astype(np.int64)


def photographs(side: int, archive: str) -> tuple[Bytes, Labels]:
    """Every tenth picture of the folders below `train` in an archive."""
    images, names = [], []
    with tarfile.open(archive) as tar:
        files = (member for member in tar if member.isfile() and "train/" in member.name)
        for member in itertools.islice(files, 0, None, 10):
            picture = Image.open(tar.extractfile(member))  # type: ignore[arg-type]
            small = picture.convert("RGB").resize((side, side), Image.Resampling.BOX)
            images.append(np.asarray(small).transpose(2, 0, 1))
            names.append(member.name.split("/")[-2])
    return np.stack(images), np.unique(names, return_inverse=True)[1].astype(np.int64)


def drawings(side: int, _: str) -> tuple[Bytes, Labels]:
    """Black lines on white: stars of rays, rings, zigzags, ladders, spirals and houses."""

    def draw(pen: ImageDraw.ImageDraw, kind: int, dice: np.random.Generator) -> None:
        turn, size, width = dice.uniform(0, 6), dice.uniform(0.3, 0.45), int(dice.integers(3, 7))
        t = np.linspace(0, 1, 40)
        around = np.exp(1j * (turn + 2 * np.pi * t))
        paths: tuple[Iterable[NDArray[Any]], ...] = (
            [np.array([0j, ray * size]) for ray in around[::6]],
            [around * size, around * size / 2],
            [t - 0.5 + 1j * size * (np.arange(40) // 5 % 2 - 0.5)],
            [np.array([-size, size], complex) + 0.2j * k for k in (-2, -1, 0, 1)],
            [t * size * np.exp(1j * (turn + 18 * t))],
            [size * np.array([-1 + 1j, 1 + 1j, 1, -1j, -1, -1 + 1j])],
        )
        moved = complex(*dice.normal(0, 0.04, 2)) + 0.5 + 0.5j
        for path in paths[kind]:
            points = 128 * (path + moved)
            pen.line([(p.real, p.imag) for p in points], fill=0, width=width)

    return _drawn(side, "L", 6, draw)


def icons(side: int, _: str) -> tuple[Bytes, Labels]:
    """Flat shapes of one colour on a ground of another: polygons, discs and rings."""

    def draw(pen: ImageDraw.ImageDraw, kind: int, dice: np.random.Generator) -> None:
        ground, shape = ([int(v) for v in dice.choice([0, 85, 170, 255], 3)] for _ in range(2))
        size, x, y = 128 * dice.uniform(0.2, 0.4), *(64 + dice.normal(0, 6, 2))
        pen.rectangle((0, 0, 128, 128), tuple(ground))
        if kind < 4:
            pen.regular_polygon((x, y, size), 3 + kind, fill=tuple(shape))
            return
        pen.ellipse((x - size, y - size, x + size, y + size), tuple(shape))
        if kind == 5:
            size /= 2
            pen.ellipse((x - size, y - size, x + size, y + size), tuple(ground))

    return _drawn(side, "RGB", 6, draw)


def _drawn(
    side: int,
    mode: str,
    kinds: int,
    draw: Callable[[ImageDraw.ImageDraw, int, np.random.Generator], None],
) -> tuple[Bytes, Labels]:
    images, labels = [], np.arange(IMAGES) % kinds
    for i, kind in enumerate(labels):
        picture = Image.new(mode, (128, 128), "white")
        draw(ImageDraw.Draw(picture), int(kind), np.random.default_rng(i))
        small = np.asarray(picture.resize((side, side), Image.Resampling.BOX))
        images.append(small.reshape(side, side, -1).transpose(2, 0, 1))
    return np.stack(images), labels.astype(np.int64)


SOURCES: dict[str, Callable[[int, str], tuple[Bytes, Labels]]] = {
    "digits": digits, "photographs": photographs, "drawings": drawings, "icons": icons,
}  # fmt: skip


class SelfMade:
    """Images with labels of their own making: a cluster each, and spoilt ones by what was done.

    The second half are the same images spoilt. Whoever tells clusters and damage apart needs
    features of both.
    """

    CLUSTERS, DAMAGES = 16, 4

    def __init__(self, images: Bytes) -> None:
        from sklearn.cluster import KMeans

        from monge.metrics.features import pixel_extractor

        self._images = images
        points = pixel_extractor().features(images).astype(np.float32)
        found = KMeans(self.CLUSTERS, n_init=1, random_state=0).fit_predict(points)
        damages = self.CLUSTERS + np.arange(len(images)) % self.DAMAGES
        self.labels: Labels | None = np.concatenate([found, damages]).astype(np.int64)

    def __len__(self) -> int:
        return 2 * len(self._images)

    def take(self, indices: NDArray[np.integer[Any]]) -> Bytes:
        n = len(self._images)
        return np.stack([self._images[i] if i < n else self._spoilt(int(i) - n) for i in indices])

    def _spoilt(self, index: int) -> Bytes:
        from scipy.ndimage import gaussian_filter

        dice = np.random.default_rng((1, index))
        image = self._images[index].astype(np.float64)
        damage = index % self.DAMAGES
        if damage == 0:
            sigma = image.shape[-1] * 2 ** dice.uniform(-5, -3)
            image = gaussian_filter(image, (0, sigma, sigma))
        elif damage == 1:
            phases = np.fft.fft2(dice.standard_normal(image.shape[1:]))
            image = np.fft.ifft2(np.fft.fft2(image) * phases / np.abs(phases)).real
        elif damage == 2:
            image = (image + self._images[dice.integers(len(self._images), size=2)].sum(0)) / 3
        else:
            image += 255 * 2 ** dice.uniform(-5, -2) * dice.normal(size=image.shape)
        rounded: Bytes = np.clip(np.rint(image), 0, 255).astype(np.uint8)
        return rounded


def sets(folder: Path, images: Bytes, labels: Labels) -> tuple[Made, Made, dict[str, Bytes]]:
    """The reference, the held-out images, and the sets to judge, all in one seeded order."""
    from scipy.ndimage import gaussian_filter

    from monge.data.writer import PackedWriter
    from monge.evaluation.baselines import Baselines
    from monge.evaluation.evidence import Evidence
    from monge.params import EvaluateParams

    order = np.random.default_rng(0).permutation(len(images))[:IMAGES]
    images, labels = images[order], labels[order]
    held = len(images) * 2 // 7
    with PackedWriter(folder / "prepared", images.shape[1:]) as writer:
        writer.append("train", images[held:])
        writer.append("validation", images[:held])
        dataset = writer.finish()
    known = Baselines(
        Evidence(lambda *_: images, dataset, EvaluateParams(images=len(images)), "")
    ).samples
    sigma = images.shape[-1] / 32
    soft = gaussian_filter(images[held:].astype(np.float64), (0, 0, sigma, sigma))
    few = images[held:][labels[held:] < (labels.max() + 1) / 2]
    return Made(images[held:], labels[held:]), Made(images[:held], labels[:held]), {
        "real": images[:held], "blurred slightly": np.rint(soft).astype(np.uint8)[:held],
        "blurred strongly": known["blurred"](0, held), "classes left out": few[:held],
        "mean image": known["mean_image"](0, held), "noise": known["noise"](0, held),
    }  # fmt: skip


def pyramid(train: Bytes) -> Callable[[Bytes], float]:
    """The distance of an image pyramid from the training images'."""
    import torch

    from monge.metrics.frechet import Gaussian
    from monge.metrics.pyramid import PyramidMoments, pyramid_distance

    def gaussians(images: Bytes) -> list[Gaussian]:
        return PyramidMoments().add(torch.from_numpy(images).float() / 127.5 - 1.0).gaussians()

    reference = gaussians(train)
    return lambda images: pyramid_distance(gaussians(images), reference)


def features(judge: str, train: Made, held: Made, cache: Path) -> Callable[[Bytes], float]:
    """The Fréchet distance from the training images, through this judge's features."""
    from monge.metrics.classifier import load_or_train
    from monge.metrics.features import random_extractor
    from monge.metrics.frechet import Gaussian, Moments, frechet_distance

    look = random_extractor(train.images.shape[1])
    if judge == "classifier":
        look = load_or_train(train, held, dataset_hash=judge, cache=cache)
    if judge == "self":
        made, known = SelfMade(train.images), SelfMade(held.images)
        look = load_or_train(made, known, dataset_hash=judge, cache=cache)

    def gaussian(images: Bytes) -> Gaussian:
        parts = [look.features(images[k : k + 500]) for k in range(0, len(images), 500)]
        moments = Moments(parts[0].shape[1])
        for part in parts:
            moments.add(part)
        return moments.gaussian()

    reference = gaussian(train.images)
    return lambda images: frechet_distance(gaussian(images), reference)


def measure(distance: Callable[[Bytes], float], made: dict[str, Bytes], size: int) -> Row:
    """Mean distance of each set's subsets, its standard error, and the steps that are wrong."""
    found = {}
    for name, images in made.items():
        starts = range(0, len(images) - size + 1, size)
        values = [distance(images[start : start + size]) for start in starts]
        found[name] = (float(np.mean(values)), float(np.std(values, ddof=1) / len(values) ** 0.5))
    wrong = [
        f"{near} < {far}" for near, far in STEPS
        if found[far][0] - found[near][0] <= ERRORS * np.hypot(found[far][1], found[near][1])
    ]  # fmt: skip
    return Row(found, wrong)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--archive", help="of photographs, train/<class>/ inside; else left out")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--sides", nargs="+", type=int, default=[16, 32])
    parser.add_argument("--judges", nargs="+", choices=JUDGES, default=JUDGES)
    parser.add_argument("--output", type=Path, default=RESULTS, help="rows are added to it")
    args = parser.parse_args()
    for kind, side in itertools.product(args.only, args.sides):
        if kind == "photographs" and not args.archive:
            print("photographs: left out, because no --archive was given")
            continue
        with tempfile.TemporaryDirectory() as folder:
            train, held, made = sets(Path(folder), *SOURCES[kind](side, args.archive or ""))
            for judge in args.judges:
                began = time.monotonic()
                distance = (
                    pyramid(train.images)
                    if judge == "pyramid"
                    else features(judge, train, held, Path(folder))
                )
                row = measure(distance, made, len(held) // SUBSETS)
                told = ", ".join(f"{name} {m:.3g}±{e:.1g}" for name, (m, e) in row.found.items())
                print(f"{kind} {side} {judge}: {told}; wrong: {row.wrong or 'none'}", flush=True)
                known = json.loads(args.output.read_text()) if args.output.is_file() else {}
                seconds = round(time.monotonic() - began, 1)
                known[f"{kind} {side} {judge}"] = {**row._asdict(), "seconds": seconds}
                args.output.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

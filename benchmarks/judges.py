"""Tests whether the deciding figure orders known sets of images rightly, feature by feature.

    python -m benchmarks.judges
    python -m benchmarks.judges --archive cifar10.tar.xz --only photographs drawings --sides 32

Sets whose order is beyond dispute are judged like a generator: noise of the right spectrum, the
mean image, real images blurred strongly (an eighth of the side) and slightly (a thirty-second, but
half a pixel at least), real images of some of the classes (labels below the middle one), held-out
real ones, and what a generator makes after 1%, 10% and all of a training of --seconds. A step of
the order is right when the Fréchet distance rises by three standard errors.

Left out, because nobody can say which is nearer: generators beside real images blurred or of some
classes, and a generator after 1% or 10% beside noise and the mean image. Photographs are those
below `test/`, which the network that comes with the package never saw; --within has only some of
their classes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.pretrained import photographs
from benchmarks.sets import drawings, icons

if TYPE_CHECKING:
    from monge.data.packed import PackedDataset
    from monge.metrics.features import Extractor

Bytes = NDArray[np.uint8]
Labels = NDArray[np.int64]

RESULTS = Path(__file__).parent / "results" / "judges.json"
KINDS = ("digits", "photographs", "drawings", "icons")
JUDGES = ("random", "pyramid", "pretrained", "classifier")
IMAGES, SUBSETS, ERRORS = 3500, 5, 3.0
SHARES = (1, 10, 100)
"""Shares of a training, in percent."""
WAY = (
    "wgan-gp.learning_rate=1e-3 dcgan.features=16 device=cpu threads=1 "
    "guards.on_dead_critic=warn guards.on_frozen_generator=warn quality_every=1000000000"
)
STEPS = (
    ("real", "blurred slightly"), ("blurred slightly", "blurred strongly"),
    ("blurred strongly", "mean image"), ("real", "classes left out"),
    ("classes left out", "mean image"), ("blurred slightly", "noise"),
    ("classes left out", "noise"), ("real", "100%"), ("100%", "10%"), ("10%", "1%"),
    ("100%", "mean image"), ("100%", "noise"),
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


def load(kind: str, side: int, archive: str, within: list[str]) -> tuple[Bytes, Labels]:
    """The images of a kind uint8 [n, C, side, side] and their classes [n]."""
    if kind == "digits":
        from sklearn.datasets import load_digits

        found = load_digits()
        levels = np.rint(found.images * 255 / 16).astype(np.uint8)
        drawn = [np.asarray(Image.fromarray(x).resize((side, side))) for x in levels]
        return np.stack(drawn)[:, None], found.target.astype(np.int64)
    if kind == "photographs":
        images, names = photographs(archive, "test", side)
        kept = np.isin(names, within or names)
        images, names = images[kept], list(np.array(names)[kept])
    else:
        images, names = small(drawings() if kind == "drawings" else icons(), side)
    return images, np.unique(names, return_inverse=True)[1].astype(np.int64)


def small(drawn: Iterable[tuple[str, Image.Image]], side: int) -> tuple[Bytes, list[str]]:
    """Drawn images on white, and the folder that each lies in."""
    images, names = [], []
    for name, picture in itertools.islice(drawn, IMAGES):
        if picture.mode == "RGBA":
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
            picture = picture.convert("RGB")
        small = np.asarray(picture.resize((side, side), Image.Resampling.BOX))
        images.append(small.reshape(side, side, -1).transpose(2, 0, 1))
        names.append(name.split("/")[-2])
    return np.stack(images), names


def sets(
    folder: Path, images: Bytes, labels: Labels
) -> tuple[PackedDataset, Made, Made, dict[str, Bytes]]:
    """The packed images, the reference, the held-out ones and the sets to judge, seeded."""
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
    sigma = max(images.shape[-1] / 32, 0.5)
    soft = gaussian_filter(images[held:].astype(np.float64), (0, 0, sigma, sigma))
    few = images[held:][labels[held:] < (labels.max() + 1) / 2]
    return dataset, Made(images[held:], labels[held:]), Made(images[:held], labels[:held]), {
        "real": images[:held], "blurred slightly": np.rint(soft).astype(np.uint8)[:held],
        "blurred strongly": known["blurred"](0, held), "classes left out": few[:held],
        "mean image": known["mean_image"](0, held), "noise": known["noise"](0, held),
    }  # fmt: skip


def trained(dataset: PackedDataset, seconds: float, folder: Path) -> dict[str, Bytes]:
    """Draw what the product's own training makes after 1%, 10% and 100% of its steps."""
    import torch

    from benchmarks.quality import drawn, parameters
    from monge import objectives
    from monge.data.batches import Batches
    from monge.tracking import NullRun
    from monge.training import loop
    from monge.training.checkpoints import checkpoint
    from monge.training.context import Training
    from monge.training.forecast.timing import timed
    from monge.training.state import TrainingState

    cpu, held = torch.device("cpu"), len(dataset.validation)
    net = "net=mlp" if dataset.image_shape[1] == 8 else "net=dcgan wgan-gp.critic_steps=2"
    way = f"{WAY} {net}"
    torch.set_num_threads(1)
    train = parameters(way)
    with Batches(dataset.train, train, cpu) as batches:
        each_s = timed(train, dataset, batches, cpu, 0).each_s
    part = max(1, round(seconds / each_s / 100))
    train = parameters(
        way, f"steps={100 * part} log_every={10 * part} checkpoint_every={part}",
        f"keep_checkpoints=1000 grid_every=1000000000 average_half_life={64 * part}",
    )  # fmt: skip
    loop.train(Training(train, dataset, folder, NullRun("judges")))
    state = TrainingState.of(train, objectives.build(train), dataset, cpu)
    made = {}
    for share in SHARES:
        found = checkpoint.at(folder, share * part)
        assert found is not None
        state.restore(found.tensors, share * part)
        made[f"{share}%"] = drawn(state.average.module, train, dataset)[:held]
    return made


def kept(path: Path | None, make: Callable[[], dict[str, Bytes]]) -> dict[str, Bytes]:
    """Images from a file, or made and put there."""
    if path is not None and path.is_file():
        with np.load(path) as file:
            return dict(file)
    made = make()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **made)  # type: ignore[arg-type]
    return made


def pyramid(train: Bytes) -> Callable[[Bytes], float]:
    """The distance of an image pyramid from the training images'."""
    import torch

    from monge.metrics.frechet import Gaussian
    from monge.metrics.pyramid import PyramidMoments, pyramid_distance

    def gaussians(images: Bytes) -> list[Gaussian]:
        return PyramidMoments().add(torch.from_numpy(images).float() / 127.5 - 1.0).gaussians()

    reference = gaussians(train)
    return lambda images: pyramid_distance(gaussians(images), reference)


def features(look: Extractor, train: Bytes) -> Callable[[Bytes], float]:
    """The Fréchet distance from the training images, through an extractor's features."""
    from monge.metrics.frechet import Gaussian, Moments, frechet_distance

    def gaussian(images: Bytes) -> Gaussian:
        parts = [look.features(images[k : k + 500]) for k in range(0, len(images), 500)]
        moments = Moments(parts[0].shape[1])
        for part in parts:
            moments.add(part)
        return moments.gaussian()

    reference = gaussian(train)
    return lambda images: frechet_distance(gaussian(images), reference)


def distance(judge: str, train: Made, held: Made, cache: Path) -> Callable[[Bytes], float]:
    """The distance of images from the training images, as a judge sees it."""
    from monge.metrics.classifier import load_or_train
    from monge.metrics.features import random_extractor
    from monge.metrics.pretrained import pretrained_extractor

    if judge == "pyramid":
        return pyramid(train.images)
    if judge == "classifier":
        look = load_or_train(train, held, dataset_hash=judge, cache=cache)
    elif judge == "pretrained":
        look = pretrained_extractor()
    else:
        look = random_extractor(train.images.shape[1])
    return features(look, train.images)


def measure(distance: Callable[[Bytes], float], made: dict[str, Bytes], size: int) -> Row:
    """Mean distance of each set's subsets, its standard error, and the steps that are wrong."""
    found = {}
    for name, images in made.items():
        starts = range(0, len(images) - size + 1, size)
        values = [distance(images[start : start + size]) for start in starts]
        found[name] = (float(np.mean(values)), float(np.std(values, ddof=1) / len(values) ** 0.5))
    wrong = []
    for near, far in STEPS:
        if near in found and far in found:
            rise = found[far][0] - found[near][0]
            if rise <= ERRORS * np.hypot(found[far][1], found[near][1]):
                wrong.append(f"{near} < {far}")
    return Row(found, wrong)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--archive", help="of photographs, test/<class>/ inside; else left out")
    parser.add_argument("--within", nargs="+", default=[], help="classes of photographs; else all")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--sides", nargs="+", type=int, default=[8, 16, 32, 64])
    parser.add_argument("--judges", nargs="+", choices=JUDGES, default=JUDGES)
    parser.add_argument("--seconds", type=float, default=60, help="of each training; 0: none")
    parser.add_argument("--keep", type=Path, help="folder for what the trainings made")
    parser.add_argument("--output", type=Path, default=RESULTS, help="rows are added to it")
    args = parser.parse_args()
    for kind, side in itertools.product(args.only, args.sides):
        if kind == "photographs" and not args.archive:
            print("photographs: left out, because no --archive was given")
        elif kind != "digits" or side < 64:  # they have 8 pixels a side
            with tempfile.TemporaryDirectory() as folder:
                judge_all(kind, side, args, Path(folder))
    return 0


def judge_all(kind: str, side: int, args: argparse.Namespace, folder: Path) -> None:
    """Measure one kind at one size with each judge, and keep the rows."""
    images, labels = load(kind, side, args.archive or "", args.within)
    dataset, train, held, made = sets(folder, images, labels)
    if args.seconds:
        kept_at = args.keep and args.keep / f"{kind}-{side}.npz"
        made |= kept(kept_at, lambda: trained(dataset, args.seconds, folder / "checkpoints"))
    for judge in args.judges:
        began = time.monotonic()
        row = measure(distance(judge, train, held, folder), made, len(held) // SUBSETS)
        told = ", ".join(f"{name} {m:.3g}±{e:.1g}" for name, (m, e) in row.found.items())
        print(f"{kind} {side} {judge}: {told}; wrong: {row.wrong or 'none'}", flush=True)
        known = json.loads(args.output.read_text()) if args.output.is_file() else {}
        seconds = round(time.monotonic() - began, 1)
        known[f"{kind} {side} {judge}"] = {**row._asdict(), "seconds": seconds}
        args.output.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())

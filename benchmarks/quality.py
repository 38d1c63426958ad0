"""Measures how soon images are good: Fréchet distance by seconds of a thread, way by way.

    python -m benchmarks.quality DATA [--few 500] [--seconds 120] [--way 'NAME: KEYS' ...]

DATA is a folder that `monge prepare` wrote, of images with classes. A way is a name and the
parameters of `train` that it differs in from their defaults:

    --way 'small: net=dcgan dcgan.features=16 wgan-gp.learning_rate=5e-4 wgan-gp.critic_steps=2'

A name of `monge.choosing.settings` among them stands for its parameters:

    --way 'recommended: pictures-in-classes dcgan.features=16 precision=bf16'

Beside the ways runs `textbook`: the loop of Gulrajani et al. 2017 as one would write it, with that
paper's settings (Adam 1e-4, five critic steps, batch 64, no decay, no averaging), on the networks
of the first way. With --few, all of them train on so many of the training images and no others.

Protocol. Each training is a process with one thread, two of them at a time by default. Seconds are
of processor time, from the first iteration to a checkpoint, looks at the quality included, and
without the process's start. A way's steps are chosen by timing it first, so that it takes about
--seconds (the textbook's loop --textbook-seconds); its learning rate decays over them. --looks
times along the way, 5,000 images of the averaged generator, from the same latents for all, are
compared with up to 10,000 training images of the whole dataset, by the Fréchet distance of the
features of `monge evaluate`'s own classifier, which is trained on the whole dataset once. `floor`
is the distance of the held-out images.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.textbook import Textbook
from benchmarks.train import conditions
from monge import objectives
from monge.choosing.settings import SETTINGS
from monge.data.batches import Batches
from monge.data.packed import PackedDataset, Split, SplitName
from monge.data.writer import PackedWriter
from monge.errors import InputError, MongeError, ParamsError
from monge.metrics.classifier import load_or_train
from monge.metrics.features import Extractor
from monge.metrics.frechet import Gaussian, Moments, frechet_distance
from monge.params import TrainParams, load
from monge.tracking import NullRun
from monge.training import labels, loop
from monge.training.checkpoints import checkpoint
from monge.training.context import Training
from monge.training.forecast.timing import timed
from monge.training.state import TrainingState

GENERATED, REFERENCE = 5000, 10_000
CPU = torch.device("cpu")
TEXTBOOK = "textbook"
PAPER = "objective=wgan-gp wgan-gp.learning_rate=1e-4 wgan-gp.critic_steps=5 batch_size=64"
Points = list[tuple[float, float]]


def parameters(*ways: str) -> TrainParams:
    """The section `train` with `net=dcgan dcgan.features=16` laid over its defaults."""
    parts = [part for way in ways for part in way.split()]
    return load(os.devnull, [f"train.{pair}" for part in parts for pair in meant(part)]).train


def meant(part: str) -> list[str]:
    """The parameters that a name stands for, or the one that it is. Raises InputError."""
    if "=" not in part and part not in SETTINGS:
        raise InputError(f"{part}: no settings have that name. There are: {', '.join(SETTINGS)}.")
    return [f"{key}={value}" for key, value in SETTINGS.get(part, {}).items()] or [part]


def fewer(dataset: PackedDataset, count: int, folder: Path) -> PackedDataset:
    """So many training images, and a tenth as many held-out ones, from all over their splits."""
    counts: dict[SplitName, int] = {"train": count, "validation": max(1, count // 10)}
    with PackedWriter(folder, dataset.image_shape, dataset.class_names) as writer:
        for name, n in counts.items():
            split: Split = getattr(dataset, name)
            places = split.spread(n)
            known = None if split.labels is None else np.asarray(split.labels[places])
            writer.append(name, split.take(places), known)
        return writer.finish()


class Judge:
    """The distance of a generator's images from the dataset's."""

    def __init__(self, dataset: PackedDataset) -> None:
        self.extractor: Extractor = load_or_train(
            dataset.train, dataset.validation, dataset_hash=dataset.content_hash,
            cache=dataset.folder,
        )  # fmt: skip
        self.reference = self._gaussian(dataset.train.take(dataset.train.spread(REFERENCE)))

    def distance(self, images: np.ndarray) -> float:
        """Measure that of images uint8 [n, C, H, W]."""
        return frechet_distance(self._gaussian(images), self.reference)

    def _gaussian(self, images: np.ndarray) -> Gaussian:
        moments: Moments | None = None
        for first in range(0, len(images), 500):
            features = self.extractor.features(images[first : first + 500])
            moments = (moments or Moments(features.shape[1])).add(features)
        assert moments is not None
        return moments.gaussian()


@torch.no_grad()
def drawn(generator: nn.Module, train: TrainParams, dataset: PackedDataset) -> np.ndarray:
    """Images uint8 [n, C, H, W] from the latents that all ways are judged with."""
    inputs = labels.fixed(train, dataset, 4242, GENERATED, CPU)
    parts = [part.draw(generator) for part in inputs.split(250)]
    images: np.ndarray = ((torch.cat(parts) + 1) * 127.5).round().clamp(0, 255).byte().numpy()
    return images


class Clock(NullRun):
    """A run that notes the processor's time at each step that is logged."""

    def __init__(self) -> None:
        super().__init__("quality")
        self.began_s = time.process_time()
        self.at: dict[int, float] = {}

    def metrics(self, values: Mapping[str, float], step: int, *, again: bool = False) -> None:
        """Note it."""
        self.at[step] = time.process_time() - self.began_s


def ours(way: str, seconds: float, looks: int, dataset: PackedDataset, judge: Judge) -> Points:
    """(seconds, distance) along a training by the product's own loop."""
    train = parameters(way)
    began, began_s = time.process_time(), time.perf_counter()
    with Batches(dataset.train, train, CPU) as batches:
        each_s = timed(train, dataset, batches, CPU, 0).each_s
    each_s *= (time.process_time() - began) / (time.perf_counter() - began_s)  # of the processor
    every = max(1, round(seconds / each_s / looks))
    train = parameters(
        way, f"steps={looks * every} log_every={every} checkpoint_every={every}",
        f"grid_every=1000000000 keep_checkpoints=1000 quality_every={4 * every}",
    )  # fmt: skip
    clock, points = Clock(), []
    with tempfile.TemporaryDirectory() as place:
        loop.train(Training(train, dataset, Path(place), clock))
        objective = objectives.build(train)
        state = TrainingState.of(train, objective, dataset, CPU)
        for step in range(every, train.steps + 1, every):
            found = checkpoint.at(Path(place), step)
            assert found is not None
            state.restore(found.tensors, step)
            images = drawn(state.average.module, train, dataset)
            points.append((clock.at[step], judge.distance(images)))
    return points


def theirs(way: str, seconds: float, looks: int, dataset: PackedDataset, judge: Judge) -> Points:
    """The same along the textbook's loop with the paper's settings."""
    train = parameters(way, PAPER)
    step = Textbook(train, dataset.image_shape, CPU, shuffled(dataset.train, train.batch_size))
    points, spent = [], 0.0
    for look in range(1, looks + 1):
        began = time.process_time()
        while spent + time.process_time() - began < seconds * look / looks:
            step()
        spent += time.process_time() - began
        points.append((spent, judge.distance(drawn(step.generator, train, dataset))))
    return points


def shuffled(split: Split, batch: int) -> Iterator[Tensor]:
    """Batches of all images in a new order each epoch, kept in memory."""
    images = torch.from_numpy(split.take(np.arange(len(split)))).float() / 127.5 - 1.0
    while True:
        for part in torch.split(torch.randperm(len(images)), batch):
            if len(part) == batch:
                yield images[part]


def in_a_child(arguments: Sequence[str]) -> Points:
    """Run this file for one training."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.quality", *arguments]
    done = subprocess.run(command, env=environment, text=True, capture_output=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    points: Points = json.loads(done.stdout.splitlines()[-1])
    return points


def child(chosen: argparse.Namespace) -> None:
    """One training, judged; prints its points."""
    torch.set_num_threads(1)
    torch.manual_seed(chosen.child)
    whole = PackedDataset.open(chosen.data)
    dataset = PackedDataset.open(chosen.child_data) if chosen.child_data else whole
    name, _, keys = chosen.way[0].partition(":")
    run = theirs if name == TEXTBOOK else ours
    way = f"{keys} seed={chosen.child} device=cpu threads=1"
    print(json.dumps(run(way, chosen.seconds, chosen.looks, dataset, Judge(whole))))


def summary(runs: list[Points]) -> list[dict[str, float]]:
    """The median and the ends over the seeds, look by look."""
    rows = []
    for looks in zip(*runs, strict=True):
        distances = [distance for _, distance in looks]
        rows.append({
            "seconds": statistics.median(seconds for seconds, _ in looks),
            "median": statistics.median(distances), "least": min(distances), "most": max(distances),
        })  # fmt: skip
    return rows


def draw(report: Mapping[str, Any], path: Path) -> None:
    """The curves, with the spread over the seeds."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    figure = Figure(figsize=(8.5, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, rows in report["ways"].items():
        seconds = [row["seconds"] for row in rows]
        (line,) = axes.plot(seconds, [row["median"] for row in rows], label=name, marker=".")
        least, most = ([row[end] for row in rows] for end in ("least", "most"))
        axes.fill_between(seconds, least, most, alpha=0.15, color=line.get_color(), linewidth=0)
    axes.axhline(report["floor"], color="grey", linestyle=":", label="held-out images")
    axes.set(xlabel="seconds of one thread", xscale="log", yscale="log")
    axes.set_ylabel("Fréchet distance")
    axes.xaxis.set(
        major_locator=LogLocator(subs=(1.0, 2.0, 5.0)), major_formatter=ScalarFormatter()
    )
    axes.xaxis.set_minor_formatter(NullFormatter())
    figure.legend(loc="outside right upper")
    figure.savefig(path, dpi=120)


def _of(name: str, chosen: argparse.Namespace) -> list[str]:
    """The seconds for which a way is trained, as options."""
    longer = name == TEXTBOOK and chosen.textbook_seconds
    return ["--seconds", str(chosen.textbook_seconds if longer else chosen.seconds)]


def measure(chosen: argparse.Namespace) -> dict[str, Any]:
    """Every way with every seed."""
    if min(chosen.looks, chosen.seeds, chosen.at_once) < 1 or chosen.seconds <= 0:
        raise InputError("--looks, --seeds, --at-once and --seconds must be above 0.")
    dataset = PackedDataset.open(chosen.data)
    if dataset.train.labels is None:
        raise InputError(f"{chosen.data}: has no classes, by which images are judged. Use others.")
    for way in chosen.way or []:
        try:  # a wrong one is said before anything is trained
            parameters(way.partition(":")[2])
        except ParamsError as error:
            raise InputError(str(error).replace(os.devnull, f"--way {way!r}", 1)) from None
    judge = Judge(dataset)  # trains the classifier, once for all
    held_out = dataset.validation.take(dataset.validation.spread(GENERATED))
    ways = {way.partition(":")[0]: way for way in chosen.way or ["default:"]}
    first = next(iter(ways.values())).partition(":")[2]
    if not chosen.no_textbook:
        ways = {TEXTBOOK: f"{TEXTBOOK}:{first}", **ways}
    report: dict[str, Any] = {
        "conditions": conditions(CPU) | {"cores": 1, "at_once": chosen.at_once},
        "images": len(dataset.train), "few": chosen.few, "seconds": chosen.seconds,
        "seeds": chosen.seeds, "shape": dataset.image_shape, "floor": judge.distance(held_out),
        "settings": {name: way.partition(":")[2].strip() for name, way in ways.items()}, "ways": {},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(chosen.at_once) as pool:
        common = [str(chosen.data), "--looks", str(chosen.looks)]
        if chosen.few:
            few = fewer(dataset, chosen.few, Path(place) / "few")
            common += ["--child-data", str(few.folder)]
        waiting = {
            name: [
                pool.submit(
                    in_a_child, [*common, *_of(name, chosen), "--child", str(seed), "--way", way]
                )
                for seed in range(chosen.seeds)
            ]
            for name, way in ways.items()
        }
        for name, futures in waiting.items():
            report["ways"][name] = rows = summary([future.result() for future in futures])
            told = "  ".join(f"{row['median']:.3g} at {row['seconds']:.0f} s" for row in rows[1::2])
            spread_of_last = f"({rows[-1]['least']:.3g} to {rows[-1]['most']:.3g})"
            print(f"{name:24} {told} {spread_of_last}", flush=True)
    print(f"{'held-out images':24} {report['floor']:.3g}")
    return report


def main() -> None:
    """Measure and print a table; write JSON, and curves beside it, where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--few", type=int, default=0, help="train on so many images only")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--textbook-seconds", type=float, help="where its loop has another time")
    parser.add_argument("--looks", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--way", action="append", help="'NAME: key=value ...' of train")
    parser.add_argument("--no-textbook", action="store_true")
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--out", type=Path, help="JSON; the curves are drawn beside it")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--child-data", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child is not None:
        child(chosen)
        return
    try:
        report = measure(chosen)
    except MongeError as error:
        sys.exit(f"quality: {error}")
    if chosen.out:
        chosen.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        draw(report, chosen.out.with_suffix(".png"))


if __name__ == "__main__":
    main()

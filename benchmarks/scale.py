"""Measures the cost of many images: each command on ten thousand, a hundred thousand, a million.

    python -m benchmarks.scale --images 10000 100000 1000000 [--folder DIR] [--steps 300]

The images are made here: JPEGs of 32 x 32 pixels in colour, ten classes, in one tar. Every command
is the one that a person gives, in a process of its own with tracking at a folder's database; what
is told of it are wall seconds, seconds of the processor, the most memory that it had at once, and
what it left on the disk. docs/scale.md has what came out, and what follows from it for a billion.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import resource
import shutil
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
SIDE = 32
CLASSES = 10
COMMON = (
    "prepare.source=archive", "prepare.resolution=32", "prepare.colour=rgb", "train.net=dcgan",
    "train.objective=wgan-gp", "train.dcgan.features=16", "train.latent_dim=64",
    "evaluate.images=10000",
)  # fmt: skip


def picture(index: int) -> bytes:
    """A JPEG: waves of a class's direction in two colours, with noise; no two are alike."""
    dice = np.random.default_rng(index)
    angle = np.pi * (index % CLASSES) / CLASSES
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    wave = np.sin(2 * np.pi * (3 * (x * np.cos(angle) + y * np.sin(angle)) + dice.uniform()))
    dark, bright = dice.integers(0, 256, (2, 3))
    mixed = dark + (wave[..., None] + 1) / 2 * (bright - dark) + dice.normal(0, 8, (SIDE, SIDE, 3))
    file = io.BytesIO()
    Image.fromarray(mixed.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
    return file.getvalue()


def archive(path: Path, count: int) -> Path:
    """A tar of so many pictures, a folder a class."""
    with multiprocessing.Pool() as pool, tarfile.open(path, "w") as tar:
        for index, encoded in enumerate(pool.imap(picture, range(count), 1000)):
            entry = tarfile.TarInfo(f"images/{index % CLASSES}/{index:09d}.jpg")
            entry.size = len(encoded)
            tar.addfile(entry, io.BytesIO(encoded))
    return path


def measured(command: list[str], folder: Path) -> dict[str, float]:
    """Run it to its end; its seconds, those of processors, and its memory. Raises on failure."""
    began, log = time.monotonic(), folder / "log.txt"
    child = os.fork()
    if child == 0:
        with log.open("ab") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        os.chdir(folder)
        os.execv(command[0], command)
    _, status, used = os.wait4(child, 0)
    if status:
        raise RuntimeError(f"{' '.join(command)}: {log.read_text()[-2000:]}")
    return {
        "seconds": round(time.monotonic() - began, 1),
        "processor_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_mib": round(_peak_mib(used)),
    }


def _peak_mib(used: resource.struct_rusage) -> float:
    return used.ru_maxrss / 1024


def pieces(count: int, steps: int, folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each command of the chain on so many images, and what it cost."""
    monge = str(Path(sys.executable).with_name("monge"))
    shutil.copy(ROOT / "params.yaml", folder)
    tar = archive(folder / "images.tar", count)
    flags = [part for one in (*COMMON, f"prepare.path={tar.name}") for part in ("--set", one)]

    def run(*words: str) -> dict[str, float]:
        return measured([monge, *words], folder)

    yield "prepare", run("prepare", *flags) | {
        "read_mib": _mib(tar), "left_mib": _mib(folder / "data" / "prepared")
    }  # fmt: skip
    for data in ("resident", "streamed"):
        short = ("--set", f"train.steps={steps}", "--set", f"train.data={data}")
        yield f"train, {data}", run("train", "--fresh", *flags, *short) | {"steps": steps}
    short = ("--set", f"train.steps={steps}", "--set", "train.data=streamed")
    yield "export", run("export", *flags, *short)
    yield "evaluate", run("evaluate", *flags, *short)
    yield "evaluate again", run("evaluate", *flags, *short)
    shards = ("--shards", "webdataset", "-o", "drawn")
    yield "sample", run("sample", "models/generator.onnx", "-n", str(count), *shards) | {
        "left_mib": _mib(folder / "drawn")
    }  # fmt: skip


def _mib(path: Path) -> float:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return round(sum(file.stat().st_size for file in files) / 2**20, 1)


def main() -> None:
    """Measure each number of images, print a table, and keep it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--folder", type=Path, help="where there is room; else a temporary one")
    parser.add_argument("--out", type=Path, default=RESULTS / "scale-cpu.json")
    asked = parser.parse_args()
    found: list[dict[str, Any]] = []
    for count in asked.images:
        with tempfile.TemporaryDirectory(dir=asked.folder) as place:
            for piece, cost in pieces(count, asked.steps, Path(place)):
                found.append({"images": count, "piece": piece, **cost})
                print("  ".join(f"{k} {v}" for k, v in found[-1].items()), flush=True)
    told = {"cpu_count": os.cpu_count(), "side": SIDE, "pieces": found}
    asked.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

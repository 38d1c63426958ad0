"""Prints hashes of the weights and images of every kind of training, to hold a refactoring to.

    python tests/bits.py > before.json        ... change the code ...
    python tests/bits.py before.json

Every net with every objective that it goes with, conditional or not, with resident and with
streamed images: 20 iterations on the CPU, at tiny sizes. The last bits of a float are those of a
processor and its libraries, so both runs are of one machine; with a file it names what differs.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import sys
import tempfile
from pathlib import Path

import numpy as np

from monge import nets, objectives, stages
from monge.data.packed import PackedDataset
from monge.data.writer import PackedWriter
from monge.errors import ParamsError
from monge.params import load
from monge.paths import Paths
from monge.serving.sampler import Sampler
from monge.tracking import NullRun
from monge.training import loop
from monge.training.context import Training

TINY = (
    "prepare.resolution=8", "train.steps=20", "train.batch_size=8", "train.latent_dim=4",
    "train.mlp.depth=2", "train.mlp.width=16", "train.dcgan.features=2", "train.resnet.features=2",
    "train.threads=1",
    "train.checkpoint_every=10", "train.quality_every=1000", "train.grid_every=1000",
    "train.log_every=10", "export.checkpoint=last", "train.device=cpu",
)  # fmt: skip


def prepared(folder: Path) -> None:
    """Write a packed dataset of noise in three classes."""
    dice = np.random.default_rng(0)
    images = dice.integers(0, 256, (96, 1, 8, 8), dtype=np.uint8)
    labels = dice.integers(0, 3, 96)
    with PackedWriter(folder, (1, 8, 8), ["a", "b", "c"]) as writer:
        writer.append("train", images[:64], labels[:64])
        writer.append("validation", images[64:], labels[64:])
        writer.finish()


def bits(root: Path, *changes: str) -> dict[str, str]:
    """Hashes of the last checkpoint's tensors and of 16 images of the exported file."""
    empty = root / "params.yaml"
    empty.parent.mkdir(parents=True)
    empty.write_text("{}\n")
    params, paths = load(empty, [*TINY, *changes]), Paths(root)
    prepared(paths.prepared)
    dataset = PackedDataset.open(paths.prepared)
    loop.train(Training(params.train, dataset, paths.checkpoints, NullRun("bits")))
    stages.export(params, paths)
    tensors = (paths.checkpoints / "step-00000020/tensors.safetensors").read_bytes()
    images = Sampler.load(paths.model, "cpu").sample(16)
    return {
        "weights": hashlib.sha256(tensors).hexdigest(),
        "images": hashlib.sha256(images.tobytes()).hexdigest(),
    }


def all_bits() -> dict[str, dict[str, str]]:
    """The hashes of every combination that is allowed, by name."""
    found = {}
    combinations = itertools.product(
        sorted(nets.FAMILIES), sorted(objectives.METHODS), (False, True), ("resident", "streamed")
    )
    for net, objective, conditional, data in combinations:
        name = f"{net}, {objective}, {'conditional' if conditional else 'plain'}, {data}"
        with tempfile.TemporaryDirectory() as folder:
            try:
                found[name] = bits(
                    Path(folder) / "project", f"train.net={net}", f"train.objective={objective}",
                    f"train.conditional={str(conditional).lower()}", f"train.data={data}",
                )  # fmt: skip
            except ParamsError as refused:
                print(f"{name}: refused: {refused}", file=sys.stderr)
    return found


def main() -> int:
    """Print the hashes, or compare them with those of a file."""
    logging.disable(logging.WARNING)
    found = all_bits()
    if len(sys.argv) == 1:
        print(json.dumps(found, indent=1))
        return 0
    before = json.loads(Path(sys.argv[1]).read_text())
    differ = [name for name in before | found if before.get(name) != found.get(name)]
    print(f"{len(found)} trainings", *(f"differs: {name}" for name in differ), sep="\n")
    return bool(differ)


if __name__ == "__main__":
    sys.exit(main())

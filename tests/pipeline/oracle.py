"""Trains and exports afresh, in a process of its own, and prints hashes of what came out.

    python tests/pipeline/oracle.py PREPARED FOLDER < '{"train": {...}, "export": {...}}'

Which code that is, PYTHONPATH says. What a project's records claim is held against it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path


def weights_hash(checkpoint: Path) -> str:
    """SHA-256 of the tensors of a checkpoint."""
    return hashlib.sha256((checkpoint / "tensors.safetensors").read_bytes()).hexdigest()


def images_hash(model: Path) -> str:
    """SHA-256 of the first images of a generator file."""
    from monge.serving.sampler import Sampler

    return hashlib.sha256(Sampler.load(model, "cpu").sample(16).tobytes()).hexdigest()


def main() -> None:
    """Train and export in FOLDER as the sections on standard input say."""
    prepared, folder = Path(sys.argv[1]), Path(sys.argv[2])
    from monge import stages
    from monge.data.packed import PackedDataset
    from monge.params import Params
    from monge.paths import Paths
    from monge.tracking import NullRun
    from monge.training import loop
    from monge.training.code.identity import code_identity
    from monge.training.context import Training

    params, paths = Params.model_validate(json.load(sys.stdin)), Paths(folder)
    shutil.copytree(prepared, paths.prepared)
    dataset = PackedDataset.open(paths.prepared)
    params = params.model_copy(
        update={"prepare": params.prepare.model_copy(update=dataset.manifest["params"])}
    )
    loop.train(Training(params.train, dataset, paths.checkpoints, NullRun("oracle")))
    stages.export(params, paths)
    found = {
        "code": code_identity(params.train).digest,
        "weights": weights_hash(sorted(paths.checkpoints.glob("step-*"))[-1]),
        "images": images_hash(paths.model),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()

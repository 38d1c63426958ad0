"""Tells the tracked run of the stages: its opening, its closing, what is trained on what."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from monge.errors import Interrupted
from monge.params import Params
from monge.paths import Paths

if TYPE_CHECKING:
    from monge.data.packed import PackedDataset
    from monge.tracking import Run


@contextmanager
def tracked(params: Params, paths: Paths, key: str) -> Iterator[Run]:
    """The tracked run of a training, closed with the status that the stage ends in."""
    from monge.tracking import open_run

    run = open_run(key, root=paths.root, state=paths.state, experiment=params.promote.name)
    status: Literal["FINISHED", "FAILED", "KILLED"] = "FAILED"
    try:
        yield run
        status = "FINISHED"
    except (Interrupted, KeyboardInterrupt):
        status = "KILLED"
        raise
    finally:
        run.close(status)


def describe_training(params: Params, paths: Paths, dataset: PackedDataset, run: Run) -> None:
    """Parameters, environment and lineage of the data, as a run's first entries.

    Of a training that is at its end the code and the machine of its last steps, and not of now.
    """
    from monge.stages import lineage
    from monge.tracking import environment, run_name
    from monge.tracking.mlflow_store import NAME_TAG
    from monge.training.checkpoints import checkpoint, record

    last, made = checkpoint.latest(paths.checkpoints), record.read(paths.checkpoints)
    goes_on = last is None or made is None or last.step < params.train.steps
    run.params(params.model_dump(by_alias=True, include={"prepare", "train"}))
    name = run_name(params.promote.name, run.key, params.model_dump()["train"])
    around = environment(paths.root) if goes_on or made is None else record.environment(made)
    run.tags({**around, **lineage.data_tags(params, paths), NAME_TAG: name})
    if goes_on:
        keep_lineage(lineage.files(params, paths), run)
    details = {
        "source": params.prepare.source,
        "train": len(dataset.train),
        "validation": len(dataset.validation),
        "image_shape": list(dataset.image_shape),
        "classes": len(dataset.class_names),
    }
    run.dataset(params.prepare.source, dataset.content_hash, details)


def keep_lineage(files: Mapping[str, bytes], run: Run) -> None:
    """Keep what brings a run's result back, as files of the run."""
    from monge.stages.lineage import FOLDER

    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            run.file(path, str(PurePosixPath(FOLDER) / PurePosixPath(name).parent))

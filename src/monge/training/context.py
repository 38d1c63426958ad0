"""All that a training is given and never changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from monge.data.packed import PackedDataset
from monge.params import TrainParams
from monge.tracking import NullRun, Run


@dataclass(frozen=True)
class Training:
    """Parameters, images, the folder of the checkpoints, and the run that is told of it.

    Without a run nothing is tracked: who only asks what is in the folder needs none.
    """

    params: TrainParams
    dataset: PackedDataset
    folder: Path
    run: Run = field(default_factory=lambda: NullRun("untracked"))

"""The doors between the stages: each takes in only what was made with the parameters asked for."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import TYPE_CHECKING, Any

from monge.data.packed import PackedDataset
from monge.errors import MadeOtherwise
from monge.params import Params
from monge.paths import Paths
from monge.stages.dvc_lock import differences
from monge.training.checkpoints.fingerprint import deciding

if TYPE_CHECKING:
    from monge.contract import Contract

# How the images were read changes none of them, and neither does a limit that they kept.
_SAME_IMAGES = {
    "prepare.workers", "prepare.max_images", "prepare.max_rejected_fraction", "prepare.contract"
}  # fmt: skip
_SAME_FIGURES = {"evaluate.batch_size", "evaluate.provider"}


def prepared(params: Params, paths: Paths) -> PackedDataset:
    """The packed dataset. Raises MadeOtherwise when it was made with other parameters.

    One without a note of its parameters is another program's, and taken as it is.
    """
    dataset = PackedDataset.open(paths.prepared)
    made = dataset.manifest.get("params")
    if isinstance(made, dict):
        _require("prepare", made, params, str(paths.prepared), _SAME_IMAGES)
    return dataset


def require_model(params: Params, paths: Paths, contract: Contract, dataset: PackedDataset) -> None:
    """Raise MadeOtherwise unless a generator file is of these parameters and this dataset.

    What its contract does not tell, it is not asked for.
    """
    where = str(paths.model)
    if contract.parameters:
        _require("train", contract.parameters, params, where)
    if contract.export_parameters:
        _require("export", contract.export_parameters, params, where)
    if contract.dataset_hash not in (None, dataset.content_hash):
        raise MadeOtherwise(
            f"{where}: trained on another dataset than the one in {paths.prepared}. Run "
            "`dvc repro`, or `monge train` and `monge export`, to make one of this dataset.",
            "train",
        )


def require_report(params: Params, paths: Paths, made: Mapping[str, Any] | None) -> None:
    """Raise MadeOtherwise unless the figures were made with these parameters.

    `made` is what the report says of it; an older one says nothing.
    """
    if made is not None:
        _require("evaluate", made, params, str(paths.metrics), _SAME_FIGURES)


def _require(
    stage: str,
    made: Mapping[str, Any],
    params: Params,
    where: str,
    without_effect: Set[str] = frozenset(),
) -> None:
    asked = params.model_dump(by_alias=True, mode="json")[stage]
    differing = [
        line
        for line in differences(*(_that_counts(stage, section) for section in (made, asked)))
        if line.partition(":")[0] not in without_effect
    ]
    if differing:
        raise MadeOtherwise(
            f"{where}: {'; '.join(differing)}. Run `dvc repro`, or `monge {stage}` and what comes "
            "after it, or set the parameters back.",
            stage,
        )


def _that_counts(stage: str, section: Mapping[str, Any]) -> dict[str, Any]:
    """A section, dotted; of a training what decides its weights, and how far it went."""
    if stage == "train":
        return {**deciding(section), "train.steps": section["steps"]}
    return {f"{stage}.{key}": value for key, value in section.items()}

"""Tells when two trainings are the same, by the parameters that matter and the dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monge.data.packed import PackedDataset
from monge.params import NET_SECTIONS, OBJECTIVE_SECTIONS, TrainParams, anneals

_WITHOUT_EFFECT = {
    "data", "device", "devices", "capture", "threads", "log_every", "grid_every",
    "checkpoint_every", "checkpoint_every_minutes", "keep_checkpoints", "guards",
}  # fmt: skip


def fingerprint(train: TrainParams, dataset: PackedDataset) -> dict[str, Any]:
    """Dotted parameter to value, for what decides the weights, and the dataset's hash."""
    return {"dataset": dataset.content_hash} | deciding(train.model_dump(by_alias=True))


def deciding(section: Mapping[str, Any]) -> dict[str, Any]:
    """Pick what decides the weights from `train`, dotted; unused sections are left out.

    `steps` counts only when the learning rate or the method's losses change towards it: otherwise
    more steps continue the same training. `quality_every` counts, for it decides which checkpoint
    is the best one, which is what is exported. `init_from` counts by its name, and only where
    there is one; so do `conditional` and `augment`.
    """
    method = OBJECTIVE_SECTIONS[section["objective"]]
    used = {NET_SECTIONS[section["net"]], method}
    sections = {*NET_SECTIONS.values(), *OBJECTIVE_SECTIONS.values()}
    unused = _WITHOUT_EFFECT | (sections - used)
    if section["learning_rate_decay"] == "none" and not anneals(section[method]):
        unused.add("steps")
    unused |= {key for key in ("init_from", "conditional") if not section[key]}
    if section["augment"] == "none":
        unused.add("augment")
    flat: dict[str, Any] = {}
    for key, value in section.items():
        if key in unused:
            continue
        if isinstance(value, dict):
            flat |= {f"train.{key}.{inner}": v for inner, v in value.items()}
        else:
            flat[f"train.{key}"] = value
    return flat


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """One line for each entry that is not the same in both: `train.batch_size: 64 -> 128`."""
    lines = []
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key, "(unset)"), now.get(key, "(unset)")
        if old != new:
            lines.append(f"{key}: {_short(old)} -> {_short(new)}")
    return lines


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else text[:12] + "..."

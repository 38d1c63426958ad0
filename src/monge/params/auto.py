"""Values that are still to be chosen: `auto` in params.yaml, filled in before a stage runs.

A stage works with plain values alone, so that `dvc repro` is as reproducible as without.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

AUTO = "auto"
KEYS = (
    "prepare.resolution", "prepare.colour", "prepare.fit", "prepare.background",
    "train.net", "train.objective", "train.conditional", "train.augment", "train.batch_size",
    "train.steps", "train.average_half_life", "train.dcgan.features",
    "train.dcgan.critic_norm", "train.dcgan.critic_initialisation",
    "train.wgan-gp.learning_rate", "train.wgan-gp.critic_steps", "train.rpgan.learning_rate",
    "train.log_every", "train.grid_every", "train.quality_every", "train.checkpoint_every",
    "promote.conditions",
)  # fmt: skip
"""The keys that can be chosen. `auto` of any other key is a value like the others."""

ALONG = ("train.precision",)
"""Keys whose `auto` has a meaning of its own, and which are chosen only along with others."""

STAGES = {"prepare": ("prepare",), "train": ("train", "promote")}
"""The sections that are chosen before a stage: from the images, and from the packed ones."""

Document = dict[str, Any]


def unchosen(document: Document, stage: str = "") -> list[str]:
    """The keys that have `auto`, of those chosen before a stage or of all."""
    sections = STAGES.get(stage, sum(STAGES.values(), ()))

    def open_of(asked: tuple[str, ...]) -> list[str]:
        within = (key for key in asked if key.partition(".")[0] in sections)
        return [key for key in within if value(document, key) == AUTO]

    found = open_of(KEYS)
    return found + open_of(ALONG) if found else []


def without(document: Document) -> Document:
    """Leave the keys out that have `auto`; their defaults stand in then."""
    kept = {name: dict(keys) if isinstance(keys, dict) else keys for name, keys in document.items()}
    for name, section in kept.items():
        if isinstance(section, dict):
            inner = {key: dict(v) if isinstance(v, dict) else v for key, v in section.items()}
            kept[name] = inner
    for key in unchosen(kept):
        for keys, name in _at(kept, key):
            del keys[name]
    return kept


def value(document: Document, key: str) -> Any:
    """Find a document's value for a dotted key; None where it has nothing."""
    return next((keys.get(name) for keys, name in _at(document, key)), None)


def _at(document: Document, key: str) -> Iterator[tuple[Document, str]]:
    """Yield the mapping that a dotted key is in and its last part, if there is such a mapping."""
    *sections, name = key.split(".")
    keys: Any = document
    for section in sections:
        keys = keys.get(section) if isinstance(keys, dict) else None
    if isinstance(keys, dict) and name in keys:
        yield keys, name

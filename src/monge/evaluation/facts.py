"""The facts of a report beside its figures: of what, on what, by whom decided, at what cost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monge.alpha import COLOURS
from monge.contract import Contract
from monge.data.packed import PackedDataset
from monge.evaluation import document, verdict
from monge.paths import Paths
from monge.tracking.revision import CHANGED

UNDECIDED = "Not decided yet: `monge promote` asks the gate."


@dataclass(frozen=True)
class Facts:
    """All that the page, the card and the comment are drawn from.

    `cost` has the seconds and, where it could be read, the joules that training took; empty where
    the training was not on this machine.
    """

    name: str
    model_hash: str
    model_bytes: int
    contract: Contract
    source: str
    counts: Mapping[str, int]
    figures: Mapping[str, document.Entry]
    pictures: Mapping[str, bytes]
    verdict: str
    parameters: Mapping[str, Any]
    cost: Mapping[str, float]

    @property
    def data(self) -> str:
        """The dataset in a sentence's half."""
        height, width, channels = self.contract.image_shape
        colour = COLOURS[channels]
        return (
            f"{self.counts['train']:,} training and {self.counts['validation']:,} held-out "
            f"{colour} images of {width}×{height} pixels ({self.source})"
        )

    @property
    def method(self) -> str:
        """The name of the method that trained it; empty where the file does not tell."""
        return str(self.contract.parameters.get("objective", ""))

    @property
    def training(self) -> str:
        """The training in a sentence's half."""
        trained = self.contract.parameters
        steps = [f"{_count(steps, f'{role} step')} each" for role, steps in self._opponent.items()]
        parts = [
            str(trained.get("net", "a net")),
            self.method,
            f"step {self.contract.step:,}",
            f"batches of {trained.get('batch_size', '?')}",
            *steps,
            f"{self.contract.weights} weights",
        ]
        return ", ".join(part for part in parts if part)

    @property
    def code(self) -> str:
        """Name the code that trained it and, where another exported it, that; a sentence's half."""
        trained = _told(self.contract.git_revision)
        exported = self.contract.export_revision
        return f"trained at {trained}" + (f", exported at {_told(exported)}" if exported else "")

    @property
    def disagreement(self) -> str:
        """Name the distances that call the pictures near, and those that call them far, if any."""
        return verdict.disagreement(self.figures)

    @property
    def words(self) -> str:
        """The verdict in words, with the figures that define it."""
        conditions = self.parameters.get("promote", {}).get("conditions", [])
        return verdict.sentence(self.figures, [condition["metric"] for condition in conditions])

    @property
    def images_seen(self) -> int | None:
        """Real images that the critic, or discriminator, saw, an image as often as it came."""
        batch, steps = self.contract.parameters.get("batch_size"), [*self._opponent.values()]
        if not isinstance(batch, int) or len(steps) != 1:
            return None
        return self.contract.step * batch * steps[0]

    @property
    def _opponent(self) -> dict[str, int]:
        """Name the generator's opponent, and the steps that it takes in each iteration."""
        section = self.contract.parameters.get(self.method, {})
        steps = {role: section.get(f"{role}_steps") for role in ("critic", "discriminator")}
        return {role: number for role, number in steps.items() if isinstance(number, int)}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("s" if number != 1 else "")


def _told(revision: str | None) -> str:
    if revision is None:
        return "no known git revision"
    commit = revision.removesuffix(CHANGED)
    return f"git revision {commit}" + (" with changed files" if commit != revision else "")


def gather(
    paths: Paths,
    name: str,
    contract: Contract,
    model_hash: str,
    parameters: Mapping[str, Any],
) -> Facts:
    """Read what the stages left. Raises InputError where `evaluate` has not been here."""
    dataset = PackedDataset.open(paths.prepared)
    return Facts(
        name=name,
        model_hash=model_hash,
        model_bytes=paths.model.stat().st_size,
        contract=contract,
        source=str(dataset.manifest.get("source", {}).get("kind", "images")),
        counts={"train": len(dataset.train), "validation": len(dataset.validation)},
        figures=document.read(paths.metrics),
        pictures={path.name: path.read_bytes() for path in sorted(paths.pictures.glob("*.png"))},
        verdict=_verdict(paths, model_hash),
        parameters=parameters,
        cost=_json(paths.cost).get(contract.run or "", {}),
    )


def _verdict(paths: Paths, model_hash: str) -> str:
    """Read what the gate said of this very file, if it did."""
    decided = _json(paths.promotion)
    if decided.get("model_hash") != model_hash:
        return UNDECIDED
    return f"Champion: {decided['sentence']}"


def _json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

"""Names the files that each stage finds and leaves, relative to the project's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from monge.original import original


@dataclass(frozen=True)
class Paths:
    """The files of one project; `dvc.yaml` names the same ones, and a test holds them together."""

    root: Path

    @property
    def prepared(self) -> Path:
        """The packed dataset (written by prepare)."""
        return self.root / "data" / "prepared"

    @property
    def versions(self) -> Path:
        """The records of the images' versions (written by `monge data add`); git keeps them."""
        return self.root / "data" / "versions.jsonl"

    @property
    def downloads(self) -> Path:
        """Downloads of torchvision's datasets; kept between runs, not versioned."""
        return self.root / "data" / "downloads"

    @property
    def checkpoints(self) -> Path:
        """The checkpoints (written by train)."""
        return self.root / "checkpoints"

    @property
    def model(self) -> Path:
        """The generator file (written by export)."""
        return self.root / "models" / "generator.onnx"

    @property
    def encoder(self) -> Path:
        """The encoder file beside it, where there is one (written by export)."""
        return self.root / "models" / "encoder" / "encoder.onnx"

    @property
    def reports(self) -> Path:
        """Figures and pictures (written by evaluate)."""
        return self.root / "reports"

    @property
    def pictures(self) -> Path:
        """The report's pictures (written by evaluate)."""
        return self.reports / "pictures"

    @property
    def metrics(self) -> Path:
        """Every figure with its protocol (written by evaluate)."""
        return self.reports / "metrics.json"

    @property
    def page(self) -> Path:
        """The report for a browser (written by evaluate, and by promote with its verdict)."""
        return self.reports / "report.html"

    @property
    def comment(self) -> Path:
        """The same for a comment on a pull request."""
        return self.reports / "report.md"

    @property
    def card(self) -> Path:
        """The same as a model hub's card; it goes into the registry with the file."""
        return self.reports / "MODEL_CARD.md"

    @property
    def state(self) -> Path:
        """The memory of monge: the spool of figures not yet sent, fetched models. Not versioned.

        In a temporary copy that DVC made for an experiment it is the project's own.
        """
        return original(self.root) / ".monge"

    @property
    def own_state(self) -> Path:
        """The memory of monge for this very folder, even a temporary copy: who trains in it."""
        return self.root / ".monge"

    @property
    def promotion(self) -> Path:
        """The decision of the last promote here, for the closing lines of a run."""
        return self.own_state / "promotion.json"

    @property
    def cost(self) -> Path:
        """Seconds and joules of the trainings on this machine, by run."""
        return self.state / "cost.json"

"""Shows a finished chain on Prefect's page: the figures, the pictures, the MLflow run."""

from __future__ import annotations

import base64
from pathlib import Path

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from monge.paths import Paths
from pipelines import summary


def publish(root: Path) -> None:
    """Leave the three artifacts of the chain with the flow run that is active."""
    paths = Paths(root)
    promotion = summary.promotion_facts(paths)
    rows = [
        {
            "figure": name,
            "value": f"{figure['value']:.4g}",
            "95 % interval": "{:.4g} to {:.4g}".format(*figure["interval"]),
            "real images": f"{figure['floor']:.4g}" if "floor" in figure else "",
            "better": figure["better"],
        }
        for name, figure in summary.figures(paths).items()
    ]
    create_table_artifact(rows, key="figures", description=promotion["sentence"])
    picture = base64.b64encode((paths.pictures / "samples.png").read_bytes()).decode("ascii")
    create_markdown_artifact(
        f"![generated images](data:image/png;base64,{picture})\n",
        key="samples",
        description="Images of the judged generator, seed 0",
    )
    create_link_artifact(
        promotion["run_page"],
        link_text="the MLflow run",
        key="mlflow-run",
        description="`make mlflow` serves this page, unless MLFLOW_TRACKING_URI names a server",
    )

"""The champion judged anew, on the held-out images as they are now.

    python -m pipelines.rejudge

Figures are compared with those that the file was promoted with. The registry stays as it is.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Failed

from monge.params import Params, load
from monge.paths import Paths
from monge.registry.gate import ReportedFigure
from monge.registry.names import resolve
from monge.registry.promote import figures as noted
from monge.stages import judging
from pipelines import by_hand, hooks, settings, turn
from pipelines.stage import run_stage
from pipelines.watch import Hours, looked_after


@flow(name="rejudge", **hooks.ENDS)
def rejudge(hours: Hours = None) -> Any:
    """Judge the champion's file on the current held-out images, and publish the figures."""
    return looked_after(hours, _rejudged)


def _rejudged() -> Any:
    log = get_run_logger().info
    with turn.taken(Path.cwd(), log), tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / settings.FILE
        file.write_text(settings.fixed([], Path.cwd(), print), encoding="utf-8")
        params = load(file, chosen=())
        resolve(_champion(params))  # that there is none is told now
        prepared = run_stage("prepare", str(file), return_state=True)
        if not prepared.is_completed():
            return Failed(message=prepared.message)
        return judge(params, return_state=True)


@task(task_run_name="judge", cache_policy=NO_CACHE)
def judge(params: Params) -> str:
    """Draw from the champion's file and compare with the held-out images; what came out."""
    from monge.evaluation import document
    from monge.serving.sampler import Sampler

    registry, version = resolve(_champion(params))
    before, address = noted(version), f"{registry.name} version {version.number}"
    sampler = Sampler.load(registry.fetch(version), params.evaluate.provider)
    figures = document.entries(judging.judge(params, Paths(Path.cwd()), sampler).figures)
    rows = [_row(name, figure, before.get(name)) for name, figure in figures.items()]
    told = f"{address} ({sampler.model_hash[:12]}) on the held-out images as they are now"
    create_table_artifact(rows, key="rejudged", description=told)
    for line in document.table(figures):
        get_run_logger().info(line)
    return told


def _champion(params: Params) -> str:
    return f"models:/{params.promote.name}@champion"


def _row(name: str, figure: dict[str, Any], before: ReportedFigure | None) -> dict[str, str]:
    """One figure beside that of the promotion, and whether both were measured alike."""
    alike = before is not None and before.protocol_hash == figure["protocol"]["protocol_hash"]
    return {
        "figure": name,
        "now": f"{figure['value']:.4g}",
        "95 % interval": "{:.4g} to {:.4g}".format(*figure["interval"]),
        "when promoted": "" if before is None or before.value is None else f"{before.value:.4g}",
        "same images and protocol": "yes" if alike else "no",
        "better": figure["better"],
    }


if __name__ == "__main__":
    with by_hand.begun():
        rejudge()

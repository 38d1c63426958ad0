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

from monge.errors import MongeError
from monge.params import Params, load
from monge.paths import Paths
from monge.stages import judging
from pipelines import brief, hooks, place, settings, turn
from pipelines.stage import run_stage
from pipelines.watch import watched


@flow(name="rejudge", **hooks.ENDS)
def rejudge() -> Any:
    """Judge the champion's file on the current held-out images, and publish the figures."""
    brief.outages()
    log = get_run_logger()
    state: Any = None
    with watched(None, log.warning) as watch:
        try:
            with place.entered(log.info), turn.taken(Path.cwd(), log.info):
                state = _rejudged()
        except MongeError as error:
            state = Failed(message=str(error))
    return watch.outcome(state)


def _rejudged() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / settings.FILE
        file.write_text(settings.fixed([], Path.cwd(), print), encoding="utf-8")
        prepared = run_stage("prepare", str(file), return_state=True)
        if not prepared.is_completed():
            return Failed(message=prepared.message)
        return judge(load(file, chosen=()))


@task(task_run_name="judge", cache_policy=NO_CACHE)
def judge(params: Params) -> str:
    """Draw from the champion's file and compare with the held-out images; what came out."""
    from monge.evaluation import document
    from monge.serving.sampler import Sampler

    address = f"models:/{params.promote.name}@champion"
    sampler = Sampler.load(address, params.evaluate.provider)
    figures = document.entries(judging.judge(params, Paths(Path.cwd()), sampler).figures)
    before = sampler.contract.metrics
    rows = [_row(name, figure, before.get(name)) for name, figure in figures.items()]
    told = f"{address} ({sampler.model_hash[:12]}) on the held-out images as they are now"
    create_table_artifact(rows, key="rejudged", description=told)
    for line in document.table(figures):
        get_run_logger().info(line)
    return told


def _row(name: str, figure: dict[str, Any], before: Any) -> dict[str, str]:
    """One figure beside that of the promotion."""
    then = before.get("value") if isinstance(before, dict) else before
    return {
        "figure": name,
        "now": f"{figure['value']:.4g}",
        "95 % interval": "{:.4g} to {:.4g}".format(*figure["interval"]),
        "when promoted": f"{then:.4g}" if isinstance(then, (int, float)) else "",
        "better": figure["better"],
    }


if __name__ == "__main__":
    rejudge()

"""Runs the tasks of a flow that has many: in threads here, or by workers of Dask or Ray."""

from __future__ import annotations

import os
from typing import Any, Literal, get_args

from monge.errors import InputError, MissingExtra

Kind = Literal["threads", "dask", "ray"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def runner(kind: Kind, workers: int, address: str = "") -> Any:
    """A task runner of so many workers: of this machine, or of the cluster at an address.

    Workers of a cluster are processes that report to Prefect's server themselves, so one must be
    there for them. Raises InputError, MissingExtra.
    """
    if workers < 1:
        raise InputError(f"workers: must be at least 1, got {workers}.")
    if kind == "threads":
        from prefect.task_runners import ThreadPoolTaskRunner

        return ThreadPoolTaskRunner(max_workers=workers)
    if not os.environ.get("PREFECT_API_URL"):
        raise InputError(
            f"{kind}: its workers need a Prefect server. Start one (`make prefect`) and set "
            "PREFECT_API_URL=http://127.0.0.1:4200/api."
        )
    try:
        return _dask(workers, address) if kind == "dask" else _ray(workers, address)
    except ImportError as error:
        raise MissingExtra(f"{kind} needs a package: pip install 'monge[runners]'.") from error


def _dask(workers: int, address: str) -> Any:
    from prefect_dask.task_runners import DaskTaskRunner

    if address:
        return DaskTaskRunner(address=address)
    here = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}
    return DaskTaskRunner(cluster_kwargs=here)


def _ray(workers: int, address: str) -> Any:
    from prefect_ray.task_runners import RayTaskRunner

    if address:
        return RayTaskRunner(address=address)
    return RayTaskRunner(init_kwargs={"num_cpus": workers, "include_dashboard": False})

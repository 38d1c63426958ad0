"""The five stages, composed here and nowhere else: (params, paths) -> result.

Each reads what the stage before left on disk and leaves its own, so that any of them can be run
alone, by hand or by DVC. Imports are inside: a stage loads what it needs and no more.
"""

from monge.stages.choosing import choose, new, product_name
from monge.stages.collecting import data_add
from monge.stages.judging import evaluate, metrics, report
from monge.stages.making import export, launch, plan, prepare, train, triton
from monge.stages.noticing import notice
from monge.stages.promoting import compare, models, promote, rollback, show
from monge.stages.restoring import data_checkout, data_log

__all__ = [
    "choose", "compare", "data_add", "data_checkout", "data_log", "evaluate", "export", "launch",
    "metrics", "models", "new", "notice", "plan", "prepare", "product_name", "promote", "report",
    "rollback", "show", "train", "triton",
]  # fmt: skip

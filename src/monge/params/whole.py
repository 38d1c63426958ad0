"""All sections together."""

from __future__ import annotations

from monge.params.evaluate import EvaluateParams
from monge.params.export import ExportParams
from monge.params.prepare import PrepareParams
from monge.params.promote import PromoteParams
from monge.params.section import Section
from monge.params.train import TrainParams


class Params(Section):
    """The whole of `params.yaml`."""

    prepare: PrepareParams = PrepareParams()
    train: TrainParams = TrainParams()
    export: ExportParams = ExportParams()
    evaluate: EvaluateParams = EvaluateParams()
    promote: PromoteParams = PromoteParams()

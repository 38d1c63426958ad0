"""`params.yaml` as typed, frozen models: one section a stage, every problem reported at once.

The comments in `params.yaml` document each key for people; what stands here is what is enforced. A
test holds the two together.
"""

from monge.params.evaluate import EvaluateParams
from monge.params.export import ExportParams
from monge.params.file import PARAMS_FILE, load
from monge.params.methods import ENCODES, OBJECTIVE_SECTIONS, EncoderParams, anneals
from monge.params.nets import NET_SECTIONS
from monge.params.prepare import SOURCES, ContractParams, PrepareParams
from monge.params.promote import Condition, PromoteParams
from monge.params.section import Section
from monge.params.train import TrainParams
from monge.params.typed import scalar, typed
from monge.params.whole import Params

__all__ = [
    "ENCODES", "NET_SECTIONS", "OBJECTIVE_SECTIONS", "PARAMS_FILE", "SOURCES", "Condition",
    "ContractParams", "EncoderParams", "EvaluateParams", "ExportParams", "Params", "PrepareParams",
    "PromoteParams", "Section", "TrainParams", "anneals", "load", "scalar", "typed",
]  # fmt: skip

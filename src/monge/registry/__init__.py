"""Decides which generator is the champion: MLflow's versions, the gate, and promotion."""

from monge.registry.gate import ReportedFigure, Verdict, decide
from monge.registry.models import Registry, Version
from monge.registry.names import fetch
from monge.registry.promote import Promotion, promote
from monge.registry.rollback import Rollback, rollback

__all__ = [
    "Promotion",
    "Registry",
    "ReportedFigure",
    "Rollback",
    "Verdict",
    "Version",
    "decide",
    "fetch",
    "promote",
    "rollback",
]

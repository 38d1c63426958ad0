"""The facts of a generator that has not been judged: what its contract says, and little else."""

from __future__ import annotations

from typing import Any

from monge.contract import Contract
from monge.evaluation.facts import UNDECIDED, Facts


def facts_of(parameters: dict[str, Any], **labelled: Any) -> Facts:
    """Of a generator that was trained with these parameters."""
    contract = Contract(
        latent_dim=4, image_shape=(8, 8, 1), step=1000, parameters=parameters, **labelled
    )
    return Facts(
        name="digits", model_hash="ab" * 32, model_bytes=1, contract=contract, source="digits",
        counts={"train": 10, "validation": 2}, figures={}, pictures={}, verdict=UNDECIDED,
        parameters={}, cost={},
    )  # fmt: skip

"""Tells a person whose training has gone wrong, by any method, what was seen, and why.

What is a method's own trouble, the method says itself (objectives/watch.py).
"""

from __future__ import annotations

from monge.objectives import Watch

_TINY_GRADIENT = 1e-8
"""RMSProp and Adam add this to what they divide by: a smaller gradient hardly moves a weight."""


def divergence(method: Watch, halved_from: int | None) -> str:
    """After a number stopped being finite; `halved_from` is the step of an earlier retry."""
    afresh = f"Lower {method.rate} and start afresh with `monge train --fresh`"
    if halved_from is not None:
        return f"{afresh}."
    return (
        f"{afresh}, or set train.guards.on_divergence: retry, which goes on from the last "
        "checkpoint with half the learning rate."
    )


def frozen_generator(method: Watch, patience: int, gradient: float) -> str:
    """Weights that stay as they are; `gradient` is the largest in magnitude."""
    seen = (
        f"the generator is frozen: none of its weights has moved for {patience} steps or more "
        f"(largest gradient {gradient:.3g})."
    )
    if gradient > _TINY_GRADIENT:
        return f"{seen}\nRaise {method.rate}: its steps are lost in rounding."
    saturated = "it, or a network behind it, has saturated"  # an auto-encoder has no opponent
    return f"{seen}\nNothing reaches it: {saturated}. Lower {method.rate}."


def collapse(method: Watch, generated: float, data: float) -> str:
    """Mean distances between generated and between training images."""
    return (
        f"the generator has collapsed: its images are all alike (mean distance {generated:.3g}, "
        f"between training images {data:.3g}).\nLower {method.rate}, or {method.collapse_remedy}."
    )

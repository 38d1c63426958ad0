"""Reads of a method with an encoder what network and method must agree on.

Here and not among the parameters: those are values alone, and no code that decides a training.
"""

from __future__ import annotations

from monge.params import ENCODES, OBJECTIVE_SECTIONS, EncoderParams, TrainParams


def encoding(train: TrainParams) -> EncoderParams:
    """The section of the method that is named, which must be one of `ENCODES`."""
    section = getattr(train, OBJECTIVE_SECTIONS[train.objective].replace("-", "_"))
    assert isinstance(section, EncoderParams)
    return section


def gaussian(train: TrainParams) -> bool:
    """Tell whether the encoder gives mean and log variance of a latent; the VAE's always does."""
    return (
        train.objective in ENCODES and getattr(encoding(train), "encoder", "gaussian") == "gaussian"
    )

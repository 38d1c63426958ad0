"""The precision that the networks compute in; what `auto` took is announced.

The weights, the optimizers, the losses and the gradient penalty are float32 in every mode. `tf32`
lets a GPU's matrix units round the factors of its products to 10 bits; `bf16` gives them 8 in the
networks' passes, and what stays in float32 the same freedom as `tf32`.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch

log = logging.getLogger(__name__)


def choose_precision(wanted: str, device: torch.device) -> str:
    """fp32, tf32 or bf16: what `train.precision` means on this device."""
    if wanted != "auto":
        return wanted
    bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    precision = "bf16" if bf16 else "fp32"
    if device.type == "cuda":
        log.info("train.precision: auto takes %s", precision)
    return precision


def fast(wanted: str, device: torch.device) -> Callable[[], AbstractContextManager[object]]:
    """A context for the networks' passes; sets for the whole process whether tf32 is allowed."""
    precision = choose_precision(wanted, device)
    torch.set_float32_matmul_precision("highest" if precision == "fp32" else "high")
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = precision != "fp32"
    if precision != "bf16":
        return nullcontext
    # No cache of rounded weights: a recorded graph would replay the weights of its recording.
    return functools.partial(torch.autocast, device.type, torch.bfloat16, cache_enabled=False)

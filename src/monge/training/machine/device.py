"""Chooses the device; what `auto` took is announced."""

from __future__ import annotations

import logging
import os

import torch

from monge.errors import DeviceError

log = logging.getLogger(__name__)


def choose_device(wanted: str) -> torch.device:
    """The device that `train.device` names; raises DeviceError when it is not here."""
    available = torch.cuda.is_available()
    if wanted == "auto":
        device = torch.device(_own("cuda" if available else "cpu"))
        log.info("train.device: auto takes %s", _describe(device))
        return device
    device = torch.device(_own(wanted))
    if device.type == "cuda":
        count = torch.cuda.device_count() if available else 0
        if (device.index or 0) >= count:
            raise DeviceError(
                f"train.device: {wanted} is not here ({count} CUDA devices found). Use "
                "train.device: auto, or check the driver with nvidia-smi."
            )
    return device


def _own(device: str) -> str:
    """Give each of several processes on a machine the GPU of its own number."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device == "cuda" and several else device


def _describe(device: torch.device) -> str:
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return "the CPU (no CUDA device found)"

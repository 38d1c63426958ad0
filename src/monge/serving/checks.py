"""Checks what callers of a sampler give, before anything is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monge.errors import InputError

MAX_IMAGES = 10_000_000
MAX_RESULT_BYTES = 8 << 30


def whole(name: str, value: object) -> int:
    """Take what is a whole number, numpy's kinds too. Raises InputError for anything else."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value)
    raise InputError(f"{name} must be a whole number, got {value!r}.")


def finite(batch: NDArray[np.float32]) -> bool:
    """Tell whether all are: a sum of squares says so in half the time, unless it overflows."""
    return math.isfinite(np.vdot(batch, batch)) or bool(np.isfinite(batch).all())


def counted(n: object, image_shape: Sequence[int]) -> int:
    """Take a number of images [H, W, C] that one call may give. Raises InputError for others."""
    n = whole("n", n)
    if not 0 <= n <= MAX_IMAGES:
        raise InputError(f"the number of images must be from 0 to {MAX_IMAGES}, got {n}.")
    size = n * int(np.prod(image_shape))
    if size > MAX_RESULT_BYTES:
        raise InputError(
            f"{n} images take {size / 2**30:.0f} GiB, more than the {MAX_RESULT_BYTES >> 30} "
            "that one call gives: draw them in parts (`first` continues a seed)."
        )
    return n

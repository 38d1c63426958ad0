"""Tests whether new pictures look as if they came from where the old ones did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monge.data.packed import Images
from monge.metrics import mmd
from monge.metrics.features import Extractor

MOST = 400
"""Pictures a side that are compared: the test holds a matrix of all pairs."""

_BATCH = 64
_PERMUTATIONS = 999


@dataclass(frozen=True)
class Window:
    """The pictures that came between two looks, compared with those that were trained on.

    `p_value` is how often a random split of both sets is as far apart as they are.
    """

    date: str
    images: int
    mmd_squared: float
    p_value: float


@dataclass(frozen=True)
class Policy:
    """The rule for a new training: so many new images, such a share, or drift that lasts.

    There is drift where a window's p-value is at most `p_value`; it lasts when that is so in
    `drifted` of the last `windows`. Fewer images than `window_images` wait for the next look.
    """

    min_images: int = 200
    min_share: float = 0.1
    p_value: float = 0.01
    drifted: int = 2
    windows: int = 3
    window_images: int = 30


@dataclass(frozen=True)
class Decision:
    """The decision to train or not, and the reason, in words."""

    train: bool
    reason: str


def features(images: Images, look: Extractor) -> NDArray[np.float64]:
    """Give the features of images uint8 [n, C, H, W], and the colours of their quarters: [n, d].

    What a network names things by hardly changes with the light; the colours do.
    """
    parts = [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]
    return np.concatenate([np.hstack([look.features(part), _colours(part)]) for part in parts])


def _colours(images: Images) -> NDArray[np.float64]:
    """Mean and deviation of each channel in each quarter: [n, 8 C]."""
    rows, columns = (-(-side // 2) for side in images.shape[2:])
    quarters = [
        images[:, :, top : top + rows, left : left + columns].astype(np.float64)
        for top in (0, images.shape[2] - rows)
        for left in (0, images.shape[3] - columns)
    ]
    return np.hstack([of(each, axis=(2, 3)) for each in quarters for of in (np.mean, np.std)])


def chosen(count: int, seed: int) -> NDArray[np.int64]:
    """Choose up to `MOST` of so many images, without order."""
    order = np.random.default_rng([seed, count]).permutation(count)
    return np.sort(order[:MOST]).astype(np.int64)


def compare(
    old: NDArray[np.float64], new: NDArray[np.float64], date: str, images: int, seed: int = 0
) -> Window:
    """Test features of new pictures [m, d] against those of old ones [n, d].

    MMD² with a Gaussian kernel, and its permutation p-value (Gretton et al. 2012, "A kernel
    two-sample test"). Scale of the features and width of the kernel are those of all pictures
    together, which no permutation changes: so the p-value holds for any numbers of pictures.
    """
    both = np.concatenate([new, old])
    both = (both - both.mean(axis=0)) / np.maximum(both.std(axis=0), 1e-9)
    kernel = mmd.rbf(mmd.median_square(both, len(both)))
    new, old = both[: len(new)], both[len(new) :]
    value = mmd.mmd_squared(new, old, kernel)
    p_value = mmd.permutation_p_value(new, old, kernel, _PERMUTATIONS, seed)
    return Window(date, images, value, p_value)


def decide(policy: Policy, new: int, there: int, windows: Sequence[Window]) -> Decision:
    """Decide about `new` images beside `there` that were trained on, and the windows, newest last.

    One odd window starts nothing, unless the policy asks for one alone.
    """
    last = windows[-policy.windows :]
    drifted = sum(window.p_value <= policy.p_value for window in last)
    share = new / max(1, there)
    bounds = (
        f"{policy.min_images:,} new images, {policy.min_share:.0%} of them all, or drift in "
        f"{policy.drifted} of {policy.windows} windows"
    )
    told = f"{new:,} new images beside {there:,} ({share:.1%})"
    told += f", drift in {drifted} of the last {len(last)} windows" if last else ""
    if last:
        told += f" (newest p = {last[-1].p_value:.3g})"
    worth = new and (new >= policy.min_images or share >= policy.min_share)
    if worth or drifted >= policy.drifted:
        return Decision(True, f"{told}: worth a training (from {bounds})")
    return Decision(False, f"{told}: not worth a training yet (from {bounds})")

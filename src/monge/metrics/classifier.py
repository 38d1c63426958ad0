"""The small residual classifier whose features and probabilities the figures are computed on.

Trained once for a dataset on its labelled training split and kept as safetensors and JSON.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from monge.errors import StorageError
from monge.files import write_whole
from monge.metrics.features import ImageSet, TorchExtractor, network_input, threads_for
from monge.metrics.pace import Pace

if TYPE_CHECKING:
    import torch
    from torch import nn

log = logging.getLogger(__name__)

# Raise it whenever the architecture or the training below changes: caches and protocols follow.
VERSION = 1
WIDTH = 16
FEATURES = 64
BATCH = 128
MIN_STEPS, MAX_STEPS, EPOCHS = 200, 1300, 12
LEARNING_RATE = 4e-3
LIMIT_S = 180.0
"""Longest training; where all steps would take longer, fewer go through the same schedule."""
_MAX_HELD_OUT = 10_000


def load_or_train(
    train: ImageSet, held_out: ImageSet, *, dataset_hash: str, cache: Path
) -> TorchExtractor:
    """Take a dataset's classifier from `cache` if it is there whole, else train and keep it there.

    A cached one whose weights do not have the recorded hash is named in the log and trained anew.
    Raises StorageError when it cannot be written.
    """
    facts_path = cache / f"classifier-v{VERSION}-{dataset_hash[:32]}.json"
    weights_path = facts_path.with_suffix(".safetensors")
    cached = _load(facts_path, weights_path, dataset_hash)
    if cached is not None:
        return cached
    trunk, head = _train(train)
    weights = _serialised(trunk, head)
    digest = _digest(weights)
    facts = {
        "version": VERSION,
        "dataset_hash": dataset_hash,
        "channels": train.take(np.array([0])).shape[1],
        "side": max(train.take(np.array([0])).shape[2:]),
        "classes": _classes(train),
        "weights_sha256": digest,
        "held_out_accuracy": _accuracy(TorchExtractor("classifier", digest, trunk, head), held_out),
    }
    write_whole(weights_path, weights)
    write_whole(facts_path, (json.dumps(facts, indent=1) + "\n").encode())
    # Read back what was kept, so that the first evaluation and every later one use one thing.
    kept = _load(facts_path, weights_path, dataset_hash)
    if kept is None:
        raise StorageError(f"{weights_path}: was damaged while being written. Check the disk.")
    return kept


def build(channels: int, side: int, classes: int) -> tuple[nn.Sequential, nn.Linear]:
    """Trunk ([n, C, h, w] -> [n, 64]) and head ([n, 64] -> [n, classes]).

    A residual network (He et al. 2016) of two blocks, on maps of about 16×16 at most: the first
    convolution's stride brings larger images down to that.
    """
    from torch import nn

    class Residual(nn.Module):
        """x plus two convolutions of it."""

        def __init__(self, width: int) -> None:
            super().__init__()
            self.inner = nn.Sequential(
                *_convolution(width, width, 3, 1),
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.relu(x + self.inner(x))

    stride = 1 if side <= 16 else 2 if side <= 32 else 4
    trunk = nn.Sequential(
        *_convolution(channels, WIDTH, {1: 3, 2: 4, 4: 6}[stride], stride),
        Residual(WIDTH),
        *_convolution(WIDTH, 2 * WIDTH, 3, 2),
        Residual(2 * WIDTH),
        *_convolution(2 * WIDTH, FEATURES, 3, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    return trunk, nn.Linear(FEATURES, classes)


def _convolution(before: int, after: int, kernel: int, stride: int) -> list[nn.Module]:
    from torch import nn

    return [
        nn.Conv2d(before, after, kernel, stride, (kernel - stride + 1) // 2, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    ]


def _classes(images: ImageSet) -> int:
    assert images.labels is not None
    return int(images.labels.max()) + 1


def _train(images: ImageSet) -> tuple[nn.Sequential, nn.Linear]:
    """Train a fixed number of steps, seeded, or as many as fit into LIMIT_S.

    Small shifts and noise keep the features from collapsing onto the classes; label smoothing would
    make them collapse.
    """
    import torch
    from torch import nn
    from tqdm import tqdm

    assert images.labels is not None
    steps = min(max(EPOCHS * len(images) // BATCH, MIN_STEPS), MAX_STEPS)
    first = images.take(np.array([0]))
    log.info(
        "training the feature classifier on %d images: %d steps, at most %.0f s; kept for this "
        "dataset", len(images), steps, LIMIT_S,
    )  # fmt: skip
    pace = Pace(steps, LIMIT_S)
    with torch.random.fork_rng(devices=[]), threads_for(max(first.shape[2:])):
        torch.manual_seed(0)
        trunk, head = build(first.shape[1], max(first.shape[2:]), _classes(images))
        network = nn.Sequential(trunk, head).to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.2
        )
        bar = tqdm(
            total=steps, desc="feature classifier", delay=2, leave=False,
            disable=not sys.stderr.isatty(),
        )  # fmt: skip
        for chosen in _batches(len(images), steps):
            x = _augmented(network_input(images.take(chosen)))
            loss = nn.functional.cross_entropy(network(x), torch.from_numpy(images.labels[chosen]))
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            places = pace.places()
            for _ in range(places):
                schedule.step()
            bar.update(places)
            if pace.done:
                break
        bar.close()
    pace.tell_end()
    return trunk.eval(), head.eval()


def _batches(count: int, steps: int) -> Iterator[NDArray[np.int64]]:
    """Yield indices of `steps` batches: seeded shuffles, one after the other, rests dropped."""
    generator = np.random.default_rng(0)
    size = min(BATCH, count)
    order, position = generator.permutation(count), 0
    for _ in range(steps):
        if position + size > count:
            order, position = generator.permutation(count), 0
        yield order[position : position + size]
        position += size


def _augmented(x: torch.Tensor) -> torch.Tensor:
    """Each image moved by up to an eighth of 16 pixels (an eighth of its side below), and noise."""
    import torch
    import torch.nn.functional as F

    n, _, height, width = x.shape
    reach = min(max(height, width) // 8, 2)
    padded = F.pad(x, [reach] * 4, mode="replicate") if reach else x
    down = torch.randint(0, 2 * reach + 1, (n, 1)) + torch.arange(height)
    right = torch.randint(0, 2 * reach + 1, (n, 1)) + torch.arange(width)
    which = torch.arange(n)[:, None, None]
    moved = padded[which, :, down[:, :, None], right[:, None, :]].permute(0, 3, 1, 2)
    return moved + 0.05 * torch.randn(moved.shape)


def _accuracy(trained: TorchExtractor, images: ImageSet) -> float:
    """Share of at most 10,000 held-out images that are classified as labelled."""
    assert images.labels is not None
    chosen = np.arange(len(images))
    if len(chosen) > _MAX_HELD_OUT:
        chosen = np.sort(np.random.default_rng(0).permutation(chosen)[:_MAX_HELD_OUT])
    right = 0
    for start in range(0, len(chosen), 512):
        part = chosen[start : start + 512]
        probabilities = trained.probabilities(images.take(part))
        assert probabilities is not None
        right += int((probabilities.argmax(axis=1) == images.labels[part]).sum())
    return right / len(chosen)


def _serialised(trunk: nn.Module, head: nn.Module) -> bytes:
    from safetensors.torch import save

    named = {f"trunk.{name}": value for name, value in trunk.state_dict().items()}
    named |= {f"head.{name}": value for name, value in head.state_dict().items()}
    content: bytes = save({name: value.contiguous() for name, value in named.items()})
    return content


def _digest(weights: bytes) -> str:
    """Covers the version too: the same weights in another architecture are other features."""
    return hashlib.sha256(f"classifier v{VERSION}\n".encode() + weights).hexdigest()


def _load(facts_path: Path, weights_path: Path, dataset_hash: str) -> TorchExtractor | None:
    """Load the cached classifier; None where it must be trained, and a log line if damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    if not facts_path.exists():
        return None
    try:
        facts = json.loads(facts_path.read_bytes())
        weights = weights_path.read_bytes()
        if facts["dataset_hash"] != dataset_hash or facts["weights_sha256"] != _digest(weights):
            raise ValueError("its hash is not the recorded one")
        tensors = load(weights)
        trunk, head = build(facts["channels"], facts["side"], facts["classes"])
        for name, module in (("trunk.", trunk), ("head.", head)):
            module.load_state_dict(
                {key.removeprefix(name): t for key, t in tensors.items() if key.startswith(name)}
            )
        accuracy = float(facts["held_out_accuracy"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        log.warning("%s: not usable (%s); training it anew", weights_path, error)
        return None
    return TorchExtractor(
        "classifier", facts["weights_sha256"], trunk.eval(), head.eval(), accuracy
    )

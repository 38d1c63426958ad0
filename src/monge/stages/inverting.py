"""A generator file with the network that it was made from, and an encoder trained for it."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import numpy as np
import torch
from numpy.typing import NDArray

from monge.durations import duration
from monge.encoder_contract import EncoderContract
from monge.errors import CheckpointMismatch, InputError
from monge.files import write_whole
from monge.inversion.likeness import Likeness
from monge.inversion.training import Asked, Lessons
from monge.inversion.training import train_encoder as teach
from monge.objectives import conditioned
from monge.params import ENCODES, Params
from monge.paths import Paths
from monge.serving.sampler import Sampler
from monge.stages import agreement
from monge.training import trained
from monge.training.context import Training
from monge.training.machine.device import choose_device

if TYPE_CHECKING:
    from monge.data.packed import PackedDataset

log = logging.getLogger(__name__)

Images = NDArray[np.uint8]

_REAL = 2000
_COMPARED = 8
_TELL_EVERY_S = 10.0


@dataclass(frozen=True)
class Drawer:
    """A generator as its file and as its network, which has gradients; and how images compare."""

    sampler: Sampler
    network: torch.nn.Module
    dataset: PackedDataset
    likeness: Likeness
    device: torch.device

    def tensor(self, images: Images) -> torch.Tensor:
        """Images uint8 [n, H, W, C] as float32 [n, C, H, W] in -1..1."""
        return _scaled(images.transpose(0, 3, 1, 2)).to(self.device)


def drawer(params: Params, paths: Paths) -> Drawer:
    """Open the exported generator. Raises CheckpointMismatch unless it is the checkpoints'."""
    dataset = agreement.prepared(params, paths)
    sampler = Sampler.load(paths.model, "cpu")
    agreement.require_model(params, paths, sampler.contract, dataset)
    training = Training(params.train, dataset, paths.checkpoints)
    found = trained.generator(training, params.export)
    device = choose_device(params.train.device)
    network = found.network.to(device).requires_grad_(False)
    if not _are_same(sampler, network, device):
        raise CheckpointMismatch(
            f"{paths.model}: is not of the generator that {paths.checkpoints} holds now. Run "
            "`monge export`, then the same command."
        )
    chosen = np.random.default_rng(0).permutation(len(dataset.train))[:_REAL]
    real = _scaled(dataset.train.take(np.sort(chosen))).to(device)
    return Drawer(sampler, network, dataset, Likeness(real), device)


def _are_same(sampler: Sampler, network: torch.nn.Module, device: torch.device) -> bool:
    """Tell whether both draw the same: latents of another generator are another's."""
    latents, labels = sampler.latents(_COMPARED), sampler.labels(_COMPARED)
    with torch.no_grad():
        asked = None if labels is None else torch.from_numpy(labels).to(device)
        values = conditioned(network, torch.from_numpy(latents).to(device), asked)
    drawn = ((values.clamp(-1, 1) + 1) * 127.5).permute(0, 2, 3, 1).cpu().numpy()
    return bool(np.abs(drawn - sampler.run(latents, labels)).mean() < 1.0)


def train_encoder(
    params: Params, paths: Paths, *, folder: Path, **how: Unpack[Asked]
) -> Iterator[str]:
    """Train an encoder on the generator's own images; write it beside a copy of the generator file.

    `how` are `seconds`, `steps`, `batch` and `seed` of the training. Raises InputError where the
    method has an encoder of its own.
    """
    from monge import nets
    from monge.export.encoder import write_encoder

    if params.train.objective in ENCODES:
        raise InputError(
            f"train.objective: {params.train.objective} has trained an encoder with its generator: "
            "use `monge encode`."
        )
    own = drawer(params, paths)
    contract = own.sampler.contract
    lessons = Lessons(contract.latent_dim, shares=contract.label_shares, **how)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(lessons.seed)
        encoder = nets.build("encoder", params.train, own.dataset.image_shape).to(own.device)
    began = time.monotonic()
    with progress(lessons.steps, "training the encoder") as advance:
        learned = teach(encoder, own.network, own.likeness, lessons, advance)
    about = EncoderContract(
        latent_dim=contract.latent_dim,
        image_shape=contract.image_shape,
        generator=own.sampler.model_hash,
        preparation=params.prepare.model_dump(include={"fit", "background", "colour", "levels"}),
    )
    model, path = folder / "generator.onnx", folder / "encoder" / "encoder.onnx"
    apart = write_encoder(encoder.cpu(), about, path, params.export.tolerance * 10)
    write_whole(model, paths.model.read_bytes())
    short = "" if learned.steps == lessons.steps else f" of {lessons.steps}, as time was up"
    yield f"{learned.steps} steps{short} in {duration(time.monotonic() - began)}"
    yield (
        f"on images it was not trained with: latents off by {learned.latents:.2f} of the prior's "
        f"variance, images {learned.images:.2f} of the way to the mean image"
    )
    yield f"{path} (largest difference {apart:.1e}): `monge encode PICTURES -m {model}`"


@contextmanager
def progress(count: int, what: str) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, a line in the log every ten seconds elsewhere."""
    from tqdm import tqdm

    done, told_s = 0, time.monotonic()
    with tqdm(total=count, desc=what, leave=False, disable=not sys.stderr.isatty()) as bar:

        def advance(steps: int) -> None:
            nonlocal done, told_s
            done += steps
            bar.update(steps)
            if bar.disable and time.monotonic() - told_s > _TELL_EVERY_S:
                told_s = time.monotonic()
                log.info("%s: %.0f %%", what, 100 * done / count)

        yield advance


def _scaled(images: Images) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).float().div_(127.5).sub_(1.0)

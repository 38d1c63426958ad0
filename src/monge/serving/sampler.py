"""Draw images from a generator file with numpy and ONNX Runtime, and nothing else."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from monge.contract import Contract
from monge.errors import DeviceError, InputError, ModelFileError
from monge.labels import Labels, Wanted, checked, chosen, drawn
from monge.latents import latents, slerp
from monge.operators import check_operators
from monge.serving import batch_size, origin
from monge.serving.checks import MAX_IMAGES, counted, finite, whole
from monge.serving.opening import ONE_SIZE, most_at_a_time, opened
from monge.serving.reasons import reason
from monge.serving.session import PROVIDERS, Session, checked_batches
from monge.serving.shares import Feeds

if TYPE_CHECKING:
    from monge.serving.encoder import Encoder

Images = NDArray[np.uint8]
Latents = NDArray[np.float32]
Provider = Literal["auto", "cpu", "cuda"]

_MOST = 1024
_FEW_BYTES = 256 << 10

_log = logging.getLogger(__name__)


class Sampler:
    """Images from a generator file; image i of a seed is the same however it is asked for.

    `contract` is what the file says of itself, `provider` what it really runs on ("cpu" or "cuda"),
    `model_hash` the SHA-256 of the file, `origin` where it was loaded from. `batch_size` images are
    drawn at a time; where no `batches` are fixed, it may be set, to the `largest` at the most.
    """

    def __init__(
        self, session: Session, contract: Contract, model_hash: str, threads: int = 0
    ) -> None:
        self.contract = contract
        self.model_hash = model_hash
        self.provider = session.provider
        self._session = session
        self._threads = threads
        size = int(np.prod(contract.image_shape))
        self.largest = most_at_a_time(contract)
        # Small images come from small networks, whose batches pay only when they are large.
        some = min(max(ONE_SIZE, min(_MOST, _FEW_BYTES // size)), self.largest)
        self.batch_size = session.batches[-1] if session.batches else some
        self._calibrated = False
        self.origin: origin.Origin = ""

    @classmethod
    def load(
        cls,
        model: str | Path,
        provider: Provider | str = "auto",
        threads: int = 0,
        batches: Sequence[int] | None = None,
    ) -> Sampler:
        """Open a generator: a file, `models:/NAME@champion` of a registry, or an http(s) address.

        Nothing is opened that holds other operators than `monge.operators` allows. `auto` takes a
        GPU that is there and says so by logging; `threads` 0 is one a core. `batches` are the sizes
        to draw in, a batch being filled up to the next: on a GPU there is one by default, since
        between two sizes a value may turn by one grey level there. Raises ModelFileError,
        DeviceError, MissingExtra, InputError, ServiceError.
        """
        if provider not in ("auto", *PROVIDERS):
            raise InputError(f"provider must be auto, cpu or cuda, got {provider!r}.")
        if not 0 <= threads <= 1024:
            raise InputError(f"threads must be from 0 (one a core) to 1024, got {threads}.")
        wanted = None if batches is None else checked_batches(batches)
        place = origin.settled(model)
        data = origin.read(place)
        check_operators(data, model)
        session, contract = opened(data, str(model), provider, threads, wanted)
        sampler = cls(session, contract, hashlib.sha256(data).hexdigest(), threads)
        sampler.origin = place
        _log.info("%s runs on %s", model, sampler.provider)
        return sampler

    @functools.cached_property
    def encoder(self) -> Encoder | None:
        """The way back from images, where there is one beside the file; opened when asked for."""
        from monge.serving.encoder import encoder_of  # most samplers are never asked

        return encoder_of(self.origin, self.model_hash) if self.origin else None

    @property
    def batches(self) -> tuple[int, ...]:
        """The only sizes that it draws in, where there are such: on a GPU, or where asked for."""
        return self._session.batches

    def calibrate(self) -> int:
        """Find the batch size that is fastest on this machine, use it, and remember it on disk.

        Only where no sizes are fixed: on a CPU, where an image does not depend on its batch.
        """
        if not (self._session.batches or self._calibrated):
            key = f"{self.model_hash[:16]} {self._threads} from seeds"
            self.batch_size = batch_size.fastest(self._from_seed, self.largest, key)
            for _ in range(self._session.looks):  # so that no client's full batch is a trial
                self.blank(self.batch_size)
            self._calibrated = True
        return self.batch_size

    def latents(
        self, n: int, seed: int = 0, first: int = 0, truncation: float | None = None
    ) -> Latents:
        """Draw what images first .. first + n − 1 of a seed are made from: [n, latent_dim]."""
        n = counted(n, self.contract.image_shape)
        dim = self.contract.latent_dim
        return latents(whole("seed", seed), whole("first", first), n, dim, truncation)

    def labels(
        self, n: int, seed: int = 0, first: int = 0, wanted: Wanted | None = None
    ) -> Labels | None:
        """Labels of those images, int64 [n]: as `wanted`, or drawn in the training images' shares.

        None where the generator takes none.
        """
        shares, classes = self.contract.label_shares, self.contract.classes
        n = counted(n, self.contract.image_shape)
        if wanted is not None:
            return chosen(wanted, n, shares, classes)
        if not shares:
            return None
        return drawn(whole("seed", seed), whole("first", first), n, shares)

    def sample(
        self,
        n: int,
        seed: int = 0,
        first: int = 0,
        truncation: float | None = None,
        labels: Wanted | None = None,
    ) -> Images:
        """Images first .. first + n − 1 of a seed: uint8 [n, H, W, C].

        `truncation` draws likelier, less varied images: latents within that many standard
        deviations. `labels` asks a conditional generator for a class, by number or name, or for
        one an image.
        """
        result = self._allocate(n)
        known, size = self.labels(n, seed, first, labels), self.batch_size
        for start in range(0, len(result), size):
            stop = start + size
            part = result[start:stop]
            batch = self.latents(len(part), seed, first + start, truncation)
            part[:] = self._draw(batch, None if known is None else known[start:stop])
        return result

    def stream(
        self,
        n: int,
        seed: int = 0,
        first: int = 0,
        truncation: float | None = None,
        label: int | str | None = None,
    ) -> Iterator[Images]:
        """The same images in batches of the fastest size, one after the other in bounded memory."""
        n, first, size = whole("n", n), whole("first", first), self.calibrate()
        if n < 0:
            raise InputError(f"the number of images must be at least 0, got {n}.")
        for start in range(0, n, size):
            yield self.sample(min(size, n - start), seed, first + start, truncation, label)

    def checked(self, batch: NDArray[Any]) -> Latents:
        """Latents as the network takes them: float32 [n, latent_dim], finite. Raises InputError."""
        batch = np.asarray(batch)
        dim = self.contract.latent_dim
        if batch.ndim != 2 or batch.shape[1] != dim or batch.dtype.kind not in "fiu":
            raise InputError(
                f"latents must be numbers of shape [n, {dim}], got {batch.dtype} "
                f"{list(batch.shape)}."
            )
        if batch.dtype != np.float32 or not batch.flags.c_contiguous:
            with np.errstate(over="ignore"):  # what float32 cannot hold is refused as infinite
                batch = np.ascontiguousarray(batch, np.float32)
        if not finite(batch):
            raise InputError("latents must be finite numbers.")
        return batch

    def checked_labels(self, labels: Any, n: int) -> Labels | None:
        """Labels as the network takes them: int64 [n]; None without any. Raises InputError."""
        return checked(labels, n, self.contract.label_shares)

    def run(self, batch: NDArray[Any], labels: NDArray[Any] | None = None) -> Images:
        """Draw the images of given latents [n, latent_dim], finite: uint8 [n, H, W, C].

        A conditional generator needs labels [n] as well.
        """
        batch = self.checked(batch)
        known, size = self.checked_labels(labels, len(batch)), self.batch_size
        if 0 < len(batch) <= size:
            return self._draw(batch, known)
        result = self._allocate(len(batch))
        for start in range(0, len(batch), size):
            part = slice(start, start + size)
            result[part] = self._draw(batch[part], None if known is None else known[part])
        return result

    def encode(self, images: NDArray[Any]) -> Latents:
        """Latents [n, latent_dim] of images uint8 [n, H, W, C], by the encoder beside the file.

        Raises InputError where there is none, or for images of another shape.
        """
        if self.encoder is None:
            raise InputError(
                "this generator has no encoder beside it (encoder/encoder.onnx): train with "
                "train.objective: vae, wae-mmd or wae-gan, whose export writes one."
            )
        return self.encoder.encode(images)

    def blank(self, n: int) -> Images:
        """Draw n images of nothing, latents and labels 0: to warm up, and to time."""
        labels = np.zeros(n, np.int64) if self.contract.conditional else None
        return self._draw(np.zeros((n, self.contract.latent_dim), np.float32), labels)

    def interpolate(
        self, seeds: Sequence[int], steps: int, label: int | str | None = None
    ) -> Images:
        """Spherical walks from image 0 of each seed to image 0 of the next, in `steps` images.

        uint8 [len(seeds) − 1, steps, H, W, C]; both ends are included. A walk of a conditional
        generator has one label all the way: `label`, or that of its first image.
        """
        if len(seeds) < 2:
            raise InputError(f"a walk needs at least two seeds, got {len(seeds)}.")
        ends = np.concatenate([self.latents(1, seed) for seed in seeds])
        starting = [self.labels(1, seed, wanted=label) for seed in seeds[:-1]]
        known = [labels[0] for labels in starting if labels is not None]
        return self.walk(ends[:-1], ends[1:], steps, np.array(known) if known else None)

    def walk(
        self, starts: Latents, ends: Latents, steps: int, labels: NDArray[Any] | None = None
    ) -> Images:
        """Spherical walks between latents [r, latent_dim]: uint8 [r, steps, H, W, C], steps >= 2.

        The first images are those of `starts`, the last those of `ends`. A conditional generator
        needs a label for each walk, [r].
        """
        rows, steps = len(starts), whole("steps", steps)
        if not 2 <= steps <= MAX_IMAGES:
            raise InputError(f"a walk needs at least 2 steps, got {steps}.")
        counted(rows * steps, self.contract.image_shape)
        between = slerp(starts[:, None], ends[:, None], np.linspace(0.0, 1.0, steps))
        known = self.checked_labels(labels, rows)
        images = self.run(
            between.reshape(rows * steps, self.contract.latent_dim),
            None if known is None else np.repeat(known, steps),
        )
        return images.reshape(rows, steps, *self.contract.image_shape)

    def _from_seed(self, n: int) -> Images:
        """One batch with all that it takes."""
        return self._draw(self.latents(n), self.labels(n))

    def _draw(self, batch: Latents, labels: Labels | None) -> Images:
        """One batch through the network.

        On the CPU a row's bits do not depend on its batch (a test holds ONNX Runtime to that). On a
        GPU the convolution is chosen by the batch size, so that the session fills it up to one.
        """
        feeds: Feeds = (
            {"latents": batch} if labels is None else {"latents": batch, "labels": labels}
        )
        try:
            images = self._session.run(feeds)
        except Exception as error:  # ONNX Runtime raises a dozen kinds, of no common base
            raise self._undrawn(len(batch), reason(error)) from error
        if len(images) != len(batch):
            raise self._undrawn(len(batch), f"{len(images)} came")
        return images

    def _undrawn(self, n: int, why: str) -> ModelFileError | DeviceError:
        """A file that other tools changed, or a device without the memory for so many."""
        kind = DeviceError if self.provider != "cpu" or "alloc" in why else ModelFileError
        return kind(f"{self.origin or 'the file'}: does not draw {n} images at a time: {why}.")

    def _allocate(self, n: int) -> Images:
        shape = self.contract.image_shape
        return np.empty((counted(n, shape), *shape), np.uint8)

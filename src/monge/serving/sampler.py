"""Draw images from a generator file with numpy and ONNX Runtime, and nothing else."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from monge.contract import METADATA_KEY, Contract
from monge.errors import DeviceError, InputError, MissingExtra, ModelFileError
from monge.latents import latents, slerp
from monge.operators import check_operators
from monge.serving import batch_size, origin

Images = NDArray[np.uint8]
Latents = NDArray[np.float32]
Provider = Literal["auto", "cpu", "cuda"]

MAX_IMAGES = 10_000_000
MAX_RESULT_BYTES = 8 << 30
_BATCH = 64
_MOST = 1024
_FEW_BYTES = 256 << 10
_BATCH_BYTES = 8 << 20  # of finished images; what the network holds meanwhile is a multiple of it
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

_log = logging.getLogger(__name__)


class Sampler:
    """Images from a generator file; image i of a seed is the same however it is asked for.

    `contract` is what the file says of itself, `provider` what it really runs on ("cpu" or "cuda"),
    `model_hash` the SHA-256 of the file.
    """

    def __init__(self, session: Any, contract: Contract, model_hash: str, threads: int = 0) -> None:
        self.contract = contract
        self.model_hash = model_hash
        self._session = session
        self._threads = threads
        names = {name: short for short, name in _PROVIDERS.items()}
        first = session.get_providers()[0]
        self.provider: str = names.get(first, first)
        height, width, channels = contract.image_shape
        size = height * width * channels
        self._largest = max(1, _BATCH_BYTES // size)
        # Small images come from small networks, whose batches pay only when they are large. A GPU
        # has one size for all: what is asked for is filled up to it.
        some = _BATCH if self.provider != "cpu" else max(_BATCH, min(_MOST, _FEW_BYTES // size))
        self._batch = min(some, self._largest)

    @classmethod
    def load(
        cls, model: str | Path, provider: Provider | str = "auto", threads: int = 0
    ) -> Sampler:
        """Open a generator: a file, `models:/NAME@champion` of a registry, or an http(s) address.

        Nothing is opened that holds other operators than `monge.operators` allows. `auto` takes a
        GPU that is there and says so by logging; `threads` 0 is one a core. Raises ModelFileError,
        DeviceError, MissingExtra, InputError, ServiceError.
        """
        if provider not in ("auto", *_PROVIDERS):
            raise InputError(f"provider must be auto, cpu or cuda, got {provider!r}.")
        if not 0 <= threads <= 1024:
            raise InputError(f"threads must be from 0 (one a core) to 1024, got {threads}.")
        data = origin.read(model)
        check_operators(data, model)
        session = _open(_onnxruntime(), data, str(model), provider, threads)
        contract = _contract(session, str(model))
        sampler = cls(session, contract, hashlib.sha256(data).hexdigest(), threads)
        _log.info("%s runs on %s", model, sampler.provider)
        return sampler

    @property
    def batch_size(self) -> int:
        """Images that are drawn at a time."""
        return self._batch

    def calibrate(self) -> int:
        """Find the batch size that is fastest on this machine, use it, and remember it on disk.

        On a CPU only, where an image does not depend on its batch. On a GPU there is one size.
        """
        if self.provider == "cpu":
            dim = self.contract.latent_dim
            key = f"{self.model_hash[:16]} {self._threads} {os.cpu_count()}"
            self._batch = batch_size.fastest(
                lambda size: self._draw(np.zeros((size, dim), np.float32)), self._largest, key
            )
        return self._batch

    def latents(
        self, n: int, seed: int = 0, first: int = 0, truncation: float | None = None
    ) -> Latents:
        """Draw what images first .. first + n − 1 of a seed are made from: [n, latent_dim]."""
        n = self._check_count(n)
        dim = self.contract.latent_dim
        return latents(_whole("seed", seed), _whole("first", first), n, dim, truncation)

    def sample(
        self, n: int, seed: int = 0, first: int = 0, truncation: float | None = None
    ) -> Images:
        """Images first .. first + n − 1 of a seed: uint8 [n, H, W, C].

        `truncation` draws likelier, less varied images: latents within that many standard
        deviations.
        """
        result = self._allocate(n)
        for start in range(0, len(result), self._batch):
            part = result[start : start + self._batch]
            part[:] = self._draw(self.latents(len(part), seed, first + start, truncation))
        return result

    def stream(
        self, n: int, seed: int = 0, first: int = 0, truncation: float | None = None
    ) -> Iterator[Images]:
        """The same images in batches of the fastest size, one after the other in bounded memory."""
        n, first, size = _whole("n", n), _whole("first", first), self.calibrate()
        if n < 0:
            raise InputError(f"the number of images must be at least 0, got {n}.")
        for start in range(0, n, size):
            yield self.sample(min(size, n - start), seed, first + start, truncation)

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
        if not np.isfinite(batch).all():
            raise InputError("latents must be finite numbers.")
        return batch

    def run(self, batch: NDArray[Any]) -> Images:
        """Draw the images of given latents [n, latent_dim], finite: uint8 [n, H, W, C]."""
        batch = self.checked(batch)
        if 0 < len(batch) <= self._batch:
            return self._draw(batch)
        result = self._allocate(len(batch))
        for start in range(0, len(batch), self._batch):
            stop = start + self._batch
            result[start:stop] = self._draw(batch[start:stop])
        return result

    def interpolate(self, seeds: Sequence[int], steps: int) -> Images:
        """Spherical walks from image 0 of each seed to image 0 of the next, in `steps` images.

        uint8 [len(seeds) − 1, steps, H, W, C]; both ends are included.
        """
        if len(seeds) < 2:
            raise InputError(f"a walk needs at least two seeds, got {len(seeds)}.")
        ends = np.concatenate([self.latents(1, seed) for seed in seeds])
        return self.walk(ends[:-1], ends[1:], steps)

    def walk(self, starts: Latents, ends: Latents, steps: int) -> Images:
        """Spherical walks between latents [r, latent_dim]: uint8 [r, steps, H, W, C], steps >= 2.

        The first images are those of `starts`, the last those of `ends`.
        """
        rows, steps = len(starts), _whole("steps", steps)
        if not 2 <= steps <= MAX_IMAGES:
            raise InputError(f"a walk needs at least 2 steps, got {steps}.")
        self._check_count(rows * steps)
        between = slerp(starts[:, None], ends[:, None], np.linspace(0.0, 1.0, steps))
        images = self.run(between.reshape(rows * steps, self.contract.latent_dim))
        return images.reshape(rows, steps, *self.contract.image_shape)

    def _draw(self, batch: NDArray[np.float32]) -> Images:
        """One batch through the network.

        On the CPU a row's bits do not depend on its batch (a test holds ONNX Runtime to that). On a
        GPU the convolution is chosen by the batch size, so there is only one: padded.
        """
        count = len(batch)
        if self.provider != "cpu" and count < self._batch:
            batch = np.pad(batch, ((0, self._batch - count), (0, 0)))
        images: Images = self._session.run(["images"], {"latents": batch})[0]
        return images[:count]

    def _allocate(self, n: int) -> Images:
        return np.empty((self._check_count(n), *self.contract.image_shape), np.uint8)

    def _check_count(self, n: int) -> int:
        n = _whole("n", n)
        if not 0 <= n <= MAX_IMAGES:
            raise InputError(f"the number of images must be from 0 to {MAX_IMAGES}, got {n}.")
        size = n * int(np.prod(self.contract.image_shape))
        if size > MAX_RESULT_BYTES:
            raise InputError(
                f"{n} images take {size / 2**30:.0f} GiB, more than the {MAX_RESULT_BYTES >> 30} "
                "that one call gives: draw them in parts (`first` continues a seed)."
            )
        return n


def _whole(name: str, value: object) -> int:
    """Take what is a whole number, numpy's kinds too. Raises InputError for anything else."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value)
    raise InputError(f"{name} must be a whole number, got {value!r}.")


def _onnxruntime() -> Any:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read once, when the library is loaded
    try:
        import onnxruntime  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise MissingExtra(
            "ONNX Runtime is not installed: pip install 'monge[serve]' (on a GPU machine "
            "'monge[serve,cuda]')."
        ) from None
    return onnxruntime


def _open(runtime: Any, data: bytes, path: str, provider: str, threads: int) -> Any:
    """Open a session on the asked provider; `auto` is CUDA where it works, and else the CPU."""
    problem = "there is no CUDA device here"
    if provider != "cpu" and _has_gpu():
        try:
            return _session(runtime, data, "cuda", threads)
        except Exception as error:
            problem = f"CUDA does not start here: {_line(error)}"
            _log.warning("%s", problem)
    try:
        session = _session(runtime, data, "cpu", threads)
    except Exception as error:  # ONNX Runtime raises a dozen kinds, of no common base
        raise ModelFileError(
            f"{path}: not an ONNX file that can be loaded (truncated?): {_line(error)}"
        ) from None
    # Only now, so that a damaged file is called one whatever was asked for.
    if provider == "cuda":
        raise DeviceError(f"{problem}. Use provider cpu or auto.")
    return session


def _session(runtime: Any, data: bytes, provider: str, threads: int) -> Any:
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, and need not be printed as well
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if provider == "cpu":
        return runtime.InferenceSession(data, options, providers=[_PROVIDERS["cpu"]])
    runtime.preload_dlls()
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    # The heuristic choice of convolution is the same in each process, the search by timing is not.
    settings = {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}
    session = runtime.InferenceSession(data, options, providers=[(_PROVIDERS["cuda"], settings)])
    if session.get_providers()[0] != _PROVIDERS["cuda"]:
        raise DeviceError("ONNX Runtime fell back to the CPU")
    return session


def _has_gpu() -> bool:
    """Ask the CUDA driver, in a millisecond, before megabytes of libraries are loaded."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return (
        driver.cuInit(0) == 0
        and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
        and count.value > 0
    )


def _contract(session: Any, path: str) -> Contract:
    """Read the contract of an opened file, which its input and output must keep."""
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ModelFileError(
            f"{path}: an ONNX file, but no generator of monge's: it has no contract in its "
            f"metadata ({METADATA_KEY})."
        )
    try:
        contract = Contract.from_json(text)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from None
    for kind, tensors, wanted in (
        ("input", session.get_inputs(), ("latents", "tensor(float)", [contract.latent_dim])),
        ("output", session.get_outputs(), ("images", "tensor(uint8)", [*contract.image_shape])),
    ):
        found = [(tensor.name, tensor.type, tensor.shape[1:]) for tensor in tensors]
        if found != [wanted]:
            raise ModelFileError(
                f"{path}: breaks its contract: its {kind} must be {wanted}, got {found}."
            )
    return contract


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]

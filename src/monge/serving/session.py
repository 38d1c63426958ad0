"""ONNX Runtime's session of a generator file: where it runs, and in batches of which sizes."""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from monge.errors import DeviceError, InputError, MissingExtra, ModelFileError
from monge.serving.bucket import Bucket
from monge.serving.reasons import one_line, refused
from monge.serving.shares import LOOKS, Feeds, Images, Shares, cores

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
MAX_BATCH = 1024


_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Session:
    """An opened file: arrays in by the name of the input, images out as uint8 [n, H, W, C].

    `provider` is what it really runs on ("cpu" or "cuda"), `batches` the sizes it is bound to.
    Several threads may draw at once.
    """

    def __init__(
        self,
        runtime: Any,
        session: Any,
        without_graphs: Callable[[], Any] | None = None,
        shares: Shares | None = None,
    ) -> None:
        """`without_graphs` opens the file again where `session` may record CUDA graphs.

        `shares` draw in the place of `session` where no batch sizes are bound.
        """
        self._shares = shares
        self._runtime, self._session, self._without_graphs = runtime, session, without_graphs
        short = {name: provider for provider, name in PROVIDERS.items()}
        first = session.get_providers()[0]
        self.provider: str = short.get(first, first)
        self.batches: tuple[int, ...] = ()
        self._buckets: list[Bucket] = []
        self.metadata: Mapping[str, str] = session.get_modelmeta().custom_metadata_map

    @property
    def inputs(self) -> list[tuple[str, str, list[int | str]]]:
        """Name, type and shape [n, ...] of each input."""
        return [(tensor.name, tensor.type, tensor.shape) for tensor in self._session.get_inputs()]

    @property
    def outputs(self) -> list[tuple[str, str, list[int | str]]]:
        """Name, type and shape [n, ...] of each output."""
        return [(tensor.name, tensor.type, tensor.shape) for tensor in self._session.get_outputs()]

    def run(self, feeds: Feeds) -> Images:
        """Draw n images of arrays [n, ...], one for each input."""
        if self._buckets:
            return _on_device(lambda: self._run_bound(feeds))
        if self._shares is not None:
            return self._shares.draw(feeds)
        images: Images = self._session.run(["images"], feeds)[0]
        return images

    def compute(self, output: str, feeds: Feeds) -> NDArray[Any]:
        """One output of arrays [n, ...], in one call: of a file on the CPU."""
        values: NDArray[Any] = self._session.run([output], feeds)[0]
        return values

    @property
    def looks(self) -> int:
        """Batches of a size after which it is settled how those of that size are drawn."""
        return LOOKS + 1 if self._shares is not None and self._shares.threads > 1 else 0

    def bind(self, batches: Sequence[int], labels: int = 0) -> None:
        """Draw in batches of these sizes only, in memory on the device that is bound once.

        On a GPU each size is recorded as a CUDA graph, which is held to what is drawn without; for
        that, `labels` says how many of them there are. Raises DeviceError when a size cannot be
        bound or, on a GPU, drawn.
        """
        self.batches = tuple(sorted(batches))
        try:
            with _alone:
                _on_device(lambda: self._bind(labels))
        except Exception as error:
            raise DeviceError(
                f"{self.provider} does not draw {self.batches[-1]} images at a time here: "
                f"{one_line(error)}. Use smaller batches, or another provider."
            ) from None

    def _run_bound(self, feeds: Feeds) -> Images:
        count, most = len(next(iter(feeds.values()))), self.batches[-1]
        parts = []
        for start in range(0, max(count, 1), most):
            part = {name: rows[start : start + most] for name, rows in feeds.items()}
            size = min(most, count - start)
            bucket = next(bucket for bucket in self._buckets if bucket.size >= size)
            parts.append(bucket.draw(part))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _bind(self, labels: int) -> None:
        device = self.provider
        self._buckets = [
            Bucket(self._runtime, self._session, size, device, graph)
            for graph, size in enumerate(self.batches, start=1)  # 0 is ONNX Runtime's own
        ]
        if device == "cpu":
            return
        expected = [bucket.draw(bucket.probe(labels)) for bucket in self._buckets]
        if self._without_graphs is None:
            return
        try:
            self._record(expected, labels)
        except Exception as error:
            _log.warning("no CUDA graph is used: %s", one_line(error))
        else:
            return
        # The failure may have left the session's stream recording: begin anew, with another.
        start, self._without_graphs = self._without_graphs, None
        self._buckets, self._session = [], None
        self._session = start()
        self._bind(labels)

    def _record(self, expected: list[Images], labels: int) -> None:
        """Record every bucket, then hold the replays to what was drawn without."""
        for bucket in self._buckets:
            bucket.replays = True
            bucket.draw({name: np.zeros_like(rows) for name, rows in bucket.probe(labels).items()})
        for bucket, images in zip(self._buckets, expected, strict=True):
            if not np.array_equal(bucket.draw(bucket.probe(labels)), images):
                raise DeviceError(f"a recorded batch of {bucket.size} draws other images")


def checked_batches(batches: Iterable[object]) -> tuple[int, ...]:
    """Batch sizes in order, each once. Raises InputError."""
    found: set[int] = set()
    for size in batches:
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= MAX_BATCH:
            raise InputError(f"batches must be whole numbers from 1 to {MAX_BATCH}, got {size!r}.")
        found.add(size)
    if not found:
        raise InputError("batches must name at least one size, for example 64.")
    return tuple(sorted(found))


def open_session(data: bytes, path: str, provider: str, threads: int) -> Session:
    """Open a file on the asked provider; `auto` is CUDA where it works, and else the CPU.

    Raises ModelFileError, DeviceError, MissingExtra.
    """
    runtime = _onnxruntime()
    problem = "there is no CUDA device here"
    if provider != "cpu" and _has_gpu():
        try:
            with _alone:
                return _open_cuda(runtime, data, threads)
        except Exception as error:
            problem = f"CUDA does not start here: {one_line(error)}"
            _log.warning("%s", problem)
    try:
        whole = _cpu(runtime, data, threads)
        shares = Shares(whole, lambda: _cpu(runtime, data, 1), threads or cores())
        session = Session(runtime, whole, shares=shares)
    except Exception as error:  # ONNX Runtime raises a dozen kinds, of no common base
        raise ModelFileError(f"{path}: {refused(error, runtime.__version__)}") from None
    # Only now, so that a damaged file is called one whatever was asked for.
    if provider == "cuda":
        raise DeviceError(f"{problem}. Use provider cpu or auto.")
    return session


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


def _options(runtime: Any, threads: int) -> Any:
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, and need not be printed as well
    options.intra_op_num_threads = threads or _of_the_allowed()
    # Idle threads spin this long before they sleep: enough to meet the next operator or the next
    # call of a loop, while the default's milliseconds are at the cost of whatever else runs here.
    options.add_session_config_entry("session.intra_op.spin_duration_us", "50")
    return options


def _of_the_allowed() -> int:
    """Count one thread for each processor that this process may use; 0 where it may use all.

    ONNX Runtime's own choice is one for each core of the machine, bound to it: that is right where
    all may be used, and leaves the set of processors that somebody has chosen where not.
    """
    allowed = cores()
    return 0 if allowed >= (os.cpu_count() or 1) else allowed


def _cpu(runtime: Any, data: bytes, threads: int) -> Any:
    return runtime.InferenceSession(data, _options(runtime, threads), providers=[PROVIDERS["cpu"]])


def _open_cuda(runtime: Any, data: bytes, threads: int) -> Session:
    """With CUDA graphs, or without where ONNX Runtime does not allow them for this file."""
    without = functools.partial(_cuda, runtime, data, threads, graphs=False)
    try:
        return Session(runtime, _cuda(runtime, data, threads, graphs=True), without)
    except Exception as error:
        session = Session(runtime, without())
        _log.warning("no CUDA graph is used: %s", one_line(error))
        return session


def _cuda(runtime: Any, data: bytes, threads: int, *, graphs: bool) -> Any:
    runtime.preload_dlls()
    options = _options(runtime, threads)
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    settings = {
        # The heuristic's choice of convolution is the same in each process. The exhaustive search
        # is by stopwatch: two processes may choose two that round differently.
        "cudnn_conv_algo_search": "HEURISTIC",
        "use_tf32": "0",
        "enable_cuda_graph": str(int(graphs)),
    }
    session = runtime.InferenceSession(
        data, options, providers=[(PROVIDERS["cuda"], settings)], enable_fallback=0
    )
    if session.get_providers()[0] != PROVIDERS["cuda"]:
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


_lock = threading.Lock()
_alone = threading.Lock()
"""Held while a file is opened on a GPU, or recorded: CUDA forbids much while a graph is recorded,
but not what is drawn by graphs that there are."""


@functools.cache
def _device_thread() -> Any:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(1, "device")


def _on_device(work: Callable[[], _T]) -> _T:
    """Do it in the one thread of this process that has the device.

    ONNX Runtime keeps its CUDA graphs by thread and allows a session with graphs one thread only;
    while one is recorded, what another thread does with the device may break it.
    """
    with _lock:
        thread = _device_thread()
    result: _T = thread.submit(work).result()
    return result

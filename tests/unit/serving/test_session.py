"""The session: what is drawn in fixed batches, on the CPU and, with a stand-in, on a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from monge.contract import METADATA_KEY, Contract
from monge.errors import DeviceError
from monge.serving import session as module
from monge.serving.sampler import Sampler
from monge.serving.session import Session, open_session

DIM, CLASSES = 6, 3
SIZES = (1, 2, 3, 7, 64, 257)
CPU = ["CPUExecutionProvider"]


def _file() -> bytes:
    """A generator of one layer and a second input, which moves all values of an image."""
    random = np.random.default_rng(0)
    constants: dict[str, NDArray[Any]] = {
        "weight": random.normal(0, 40, (DIM, 12)).astype(np.float32),
        "classes": random.normal(120, 40, (CLASSES, 12)).astype(np.float32),
        "low": np.array(0, np.float32),
        "high": np.array(255, np.float32),
        "shape": np.array([-1, 2, 2, 3], np.int64),
    }
    nodes = [
        helper.make_node("MatMul", ["latents", "weight"], ["a"]),
        helper.make_node("Gather", ["classes", "labels"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("Clip", ["c", "low", "high"], ["d"]),
        helper.make_node("Cast", ["d"], ["e"], to=TensorProto.UINT8),
        helper.make_node("Reshape", ["e", "shape"], ["images"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("latents", TensorProto.FLOAT, ["n", DIM]),
            helper.make_tensor_value_info("labels", TensorProto.INT64, ["n"]),
        ],
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 2, 2, 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    data: bytes = model.SerializeToString()
    return data


def _feeds(n: int, seed: int = 0) -> dict[str, NDArray[Any]]:
    random = np.random.default_rng(seed)
    return {
        "latents": random.standard_normal((n, DIM)).astype(np.float32),
        "labels": random.integers(0, CLASSES, n),
    }


@pytest.fixture
def plain() -> Session:
    return open_session(_file(), "g", "cpu", 2)


@pytest.mark.parametrize("batches", [(16,), (1, 3, 64), (300, 2)])
def test_fixed_batches_draw_the_same_bits_from_several_threads_at_once(
    plain: Session, batches: tuple[int, ...]
) -> None:
    bound = open_session(_file(), "g", "cpu", 2)
    bound.bind(batches)
    expected = [plain.run(_feeds(n, n)) for n in SIZES]

    def draw(_: int) -> list[NDArray[np.uint8]]:
        return [bound.run(_feeds(n, n)) for n in SIZES]

    with ThreadPoolExecutor(4) as threads:
        for drawn in threads.map(draw, range(12)):
            for images, wanted in zip(drawn, expected, strict=True):
                np.testing.assert_array_equal(images, wanted)


def test_images_are_the_callers_own_and_not_the_next_batchs(plain: Session) -> None:
    plain.bind([4])
    first = plain.run(_feeds(4, 1))
    kept = first.copy()
    plain.run(_feeds(4, 2))
    np.testing.assert_array_equal(first, kept)


def test_a_batch_goes_into_the_smallest_size_that_holds_it(plain: Session) -> None:
    plain.bind([16, 1, 4])
    assert plain.batches == (1, 4, 16)
    drawn: list[tuple[int, int]] = []
    for bucket in plain._buckets:
        bucket.draw = _noting(bucket, drawn)  # type: ignore[method-assign]
    for n in (1, 2, 4, 5, 16, 17, 38):
        plain.run(_feeds(n))
    assert drawn == [
        (1, 1), (4, 2), (4, 4), (16, 5), (16, 16), (16, 16), (1, 1), (16, 16), (16, 16), (16, 6)
    ]  # fmt: skip


def _noting(bucket: Any, drawn: list[tuple[int, int]]) -> Any:
    draw = bucket.draw

    def note(feeds: Any) -> Any:
        drawn.append((bucket.size, len(feeds["latents"])))
        return draw(feeds)

    return note


def test_threads_that_wait_for_the_next_call_leave_the_cores_to_others() -> None:
    """With ONNX Runtime's defaults they spin on through the 3 ms, where a core is free for it."""
    session = open_session(_product(), "g", "cpu", 2)
    batch = {"latents": np.ones((64, 256), np.float32)}
    spent_s = []
    for _ in range(40):
        session.run(batch)
        began_s = time.process_time()
        time.sleep(0.003)
        spent_s.append(time.process_time() - began_s)
    assert np.median(spent_s) < 0.0005


def _product() -> bytes:
    """A file with one matrix product that is worth two threads."""
    latents = helper.make_tensor_value_info("latents", TensorProto.FLOAT, ["n", 256])
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 256])
    weight = numpy_helper.from_array(np.ones((256, 256), np.float32), "weight")
    nodes = [
        helper.make_node("MatMul", ["latents", "weight"], ["a"]),
        helper.make_node("Cast", ["a"], ["images"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(nodes, "g", [latents], [images], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    data: bytes = model.SerializeToString()
    return data


class Gpu:
    """ONNX Runtime with a GPU, as its documentation and sources describe it, on the CPU.

    A session with CUDA graphs belongs to one thread. The first run of a `gpu_graph_id` records the
    addresses of its inputs and output, later ones read and write there, -1 does neither.
    """

    SessionOptions = onnxruntime.SessionOptions
    RunOptions = onnxruntime.RunOptions

    def __init__(self, fails: str = "") -> None:
        self.fails = fails
        self.said: list[tuple[str, str]] = []  # of each run: the id, and what was done
        self.opened: list[bool] = []  # with graphs or without
        self.OrtValue = SimpleNamespace(ortvalue_from_shape_and_type=self._value)

    def preload_dlls(self) -> None:
        pass

    def _value(self, shape: Any, dtype: Any, device: str) -> Any:
        assert device == "cuda"
        return _OnGpu(onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, dtype, "cpu"))

    def InferenceSession(  # noqa: N802
        self, data: bytes, options: Any, providers: list[Any], enable_fallback: int = 1
    ) -> Any:
        inner = onnxruntime.InferenceSession(data, providers=CPU)
        if providers == CPU:
            return inner
        entry = options.get_session_config_entry("session.disable_cpu_ep_fallback")
        assert entry == "1"
        ((name, settings),) = providers
        assert name == "CUDAExecutionProvider"
        assert not enable_fallback
        graphs = settings["enable_cuda_graph"] == "1"
        if self.fails == "start" or (self.fails == "open" and graphs):
            raise RuntimeError("not all nodes\nare on CUDA")
        self.opened.append(graphs)
        return _GpuSession(self, inner, graphs)


class _OnGpu:
    def __init__(self, value: Any) -> None:
        self.value = value
        self.update_inplace = value.update_inplace

    def numpy(self) -> NDArray[Any]:
        return np.array(self.value.numpy())  # a copy to the host


class _GpuSession:
    def __init__(self, gpu: Gpu, inner: Any, graphs: bool) -> None:
        self.gpu, self.inner, self.graphs = gpu, inner, graphs
        self.get_inputs, self.get_outputs = inner.get_inputs, inner.get_outputs
        self.get_modelmeta = inner.get_modelmeta
        self.recorded: dict[str, Any] = {}
        self.thread: int | None = None

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider"]

    def io_binding(self) -> Any:
        binding = self.inner.io_binding()
        return SimpleNamespace(
            binding=binding,
            bind_ortvalue_input=lambda name, v: binding.bind_ortvalue_input(name, v.value),
            bind_ortvalue_output=lambda name, v: binding.bind_ortvalue_output(name, v.value),
        )

    def run_with_iobinding(self, io_binding: Any, options: Any) -> None:
        self.thread = self.thread or threading.get_ident()
        assert self.thread == threading.get_ident()
        graph = options.get_run_config_entry("gpu_graph_id")
        assert graph != "0"
        if self.gpu.fails == "draw":
            raise RuntimeError("out of memory")
        if not self.graphs or graph == "-1":
            self.inner.run_with_iobinding(io_binding.binding)
            self.gpu.said.append((graph, "run"))
        elif graph in self.recorded:
            if self.gpu.fails != "replay":
                self.inner.run_with_iobinding(self.recorded[graph].binding)
            self.gpu.said.append((graph, "replayed"))
        else:
            if self.gpu.fails == "record":
                raise RuntimeError("operation not permitted when stream is capturing")
            self.inner.run_with_iobinding(io_binding.binding)
            self.recorded[graph] = io_binding
            self.gpu.said.append((graph, "recorded"))


def _on(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> Gpu:
    monkeypatch.setattr(module, "_onnxruntime", lambda: gpu)
    monkeypatch.setattr(module, "_has_gpu", lambda: True)
    return gpu


def test_on_a_gpu_each_size_is_recorded_once_and_replayed_from_then_on(
    plain: Session, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gpu = _on(Gpu(), monkeypatch)
    session = open_session(_file(), "g", "cuda", 0)
    session.bind((1, 4))
    assert session.provider == "cuda"
    assert gpu.said == [
        ("-1", "run"), ("-1", "run"), ("1", "recorded"), ("2", "recorded"),
        ("1", "replayed"), ("2", "replayed"),
    ]  # fmt: skip
    gpu.said.clear()
    with ThreadPoolExecutor(3) as threads:
        drawn = threads.map(lambda n: session.run(_feeds(n)), SIZES)
        for n, images in zip(SIZES, drawn, strict=True):
            np.testing.assert_array_equal(images, plain.run(_feeds(n)))
    assert {what for _, what in gpu.said} == {"replayed"}
    assert gpu.opened == [True]
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("fails", "opened", "told"),
    [
        ("open", [False], "not all nodes are on CUDA"),
        ("record", [True, False], "operation not permitted"),
        ("replay", [True, False], "a recorded batch of 1 draws other images"),
    ],
)
def test_where_a_graph_cannot_be_had_one_line_says_so_and_the_gpu_draws_without(
    plain: Session, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    fails: str, opened: list[bool], told: str,
) -> None:  # fmt: skip
    gpu = _on(Gpu(fails), monkeypatch)
    session = open_session(_file(), "g", "auto", 0)
    session.bind((1, 4))
    assert session.provider == "cuda"
    assert gpu.opened == opened
    (record,) = caplog.records
    assert record.getMessage().startswith("no CUDA graph is used: ")
    assert told in record.getMessage()
    assert "\n" not in record.getMessage()
    gpu.said.clear()
    np.testing.assert_array_equal(session.run(_feeds(6)), plain.run(_feeds(6)))
    assert gpu.said == [("-1", "run"), ("-1", "run")]


@pytest.fixture
def generator(tmp_path: Path) -> Path:
    """The file without its second input, and with a contract."""
    model = onnx.load_model_from_string(_file())
    del model.graph.input[1], model.graph.node[1]
    model.graph.node[1].input[1] = "low"
    contract = Contract(latent_dim=DIM, image_shape=(2, 2, 3))
    helper.set_model_props(model, {METADATA_KEY: contract.to_json()})
    onnx.save(model, tmp_path / "generator.onnx")
    return tmp_path / "generator.onnx"


def test_on_a_gpu_there_is_one_size_unless_others_are_asked_for(
    generator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = Sampler.load(generator, "cpu").sample(300)
    gpu = _on(Gpu(), monkeypatch)
    sampler = Sampler.load(generator)
    assert sampler.provider == "cuda"
    assert sampler.batch_size == sampler.calibrate() == 64
    gpu.said.clear()
    np.testing.assert_array_equal(sampler.sample(300), expected)
    assert gpu.said == [("1", "replayed")] * 5
    gpu.said.clear()
    sampler = Sampler.load(generator, "cuda", batches=(256, 1, 64))
    gpu.said.clear()
    np.testing.assert_array_equal(sampler.sample(300), expected)
    assert gpu.said == [("3", "replayed"), ("2", "replayed")]


def test_a_gpu_that_starts_but_cannot_draw_is_refused_or_not_taken(
    generator: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _on(Gpu("draw"), monkeypatch)
    with pytest.raises(DeviceError, match="cuda does not draw 64 images at a time here: out of"):
        Sampler.load(generator, "cuda")
    assert Sampler.load(generator).provider == "cpu"
    assert "cuda does not draw 64 images" in caplog.text
    _on(Gpu("start"), monkeypatch)
    with pytest.raises(DeviceError, match="CUDA does not start here: not all nodes are on CUDA"):
        Sampler.load(generator, "cuda")


_OPENED = """
import os, sys
from pathlib import Path
os.sched_setaffinity(0, {int(sys.argv[2])})
import monge.serving.session as session
import onnxruntime
before = set(os.listdir("/proc/self/task"))
opened = session.open_session(Path(sys.argv[1]).read_bytes(), "g", "cpu", int(sys.argv[3]))
print(len(set(os.listdir("/proc/self/task")) - before))
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="this process may use one core")
def test_a_process_that_may_use_one_core_starts_no_thread_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "g.onnx"
    file.write_bytes(_file())
    core = str(min(os.sched_getaffinity(0)))

    def started(threads: int) -> int:
        command = [sys.executable, "-c", _OPENED, str(file), core, str(threads)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert started(0) == 0
    assert started(2) == 1, "who asks for two has two"
    monkeypatch.setattr(module, "cores", os.cpu_count)
    assert module._options(onnxruntime, 0).intra_op_num_threads == 0, "where all may be used"

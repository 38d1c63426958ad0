"""The sampler: light, bounded, honest about its device, and the same image every time."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from monge.contract import METADATA_KEY, Contract
from monge.errors import DeviceError, InputError, MissingExtra, ModelFileError, ServiceError
from monge.latents import latents, slerp
from monge.serving import batch_size, checks, origin
from monge.serving import session as session_module
from monge.serving.sampler import Sampler
from tests.proxied import proxy

DIM, SHAPE = 8, (6, 5, 3)
CONTRACT = Contract(latent_dim=DIM, image_shape=SHAPE, classes=("a", "b"))


def _model(output: str = "images", contract: str | None = None) -> onnx.ModelProto:
    """A generator of one random layer: wide enough that rounding would show a changed sum."""
    values = np.random.default_rng(0).normal(0, 40, (DIM, int(np.prod(SHAPE)))).astype(np.float32)
    constants: dict[str, np.ndarray] = {
        "weight": values,
        "middle": np.array(127.5, np.float32),
        "low": np.array(0, np.float32),
        "high": np.array(255, np.float32),
        "shape": np.array([-1, *SHAPE], np.int64),
    }
    nodes = [
        helper.make_node("MatMul", ["latents", "weight"], ["a"]),
        helper.make_node("Add", ["a", "middle"], ["b"]),
        helper.make_node("Round", ["b"], ["c"]),
        helper.make_node("Clip", ["c", "low", "high"], ["d"]),
        helper.make_node("Cast", ["d"], ["e"], to=TensorProto.UINT8),
        helper.make_node("Reshape", ["e", "shape"], [output]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("latents", TensorProto.FLOAT, ["n", DIM])],
        [helper.make_tensor_value_info(output, TensorProto.UINT8, ["n", *SHAPE])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    helper.set_model_props(model, {METADATA_KEY: contract or CONTRACT.to_json()})
    return model


@pytest.fixture
def path(tmp_path: Path) -> Path:
    onnx.save(_model(), tmp_path / "generator.onnx")
    return tmp_path / "generator.onnx"


def _expected(drawn: np.ndarray) -> np.ndarray:
    weight = np.random.default_rng(0).normal(0, 40, (DIM, int(np.prod(SHAPE)))).astype(np.float32)
    values = drawn.astype(np.float64) @ weight + 127.5
    return np.clip(np.rint(values), 0, 255).reshape(-1, *SHAPE)


def test_it_draws_what_the_file_computes_from_the_counted_latents(path: Path) -> None:
    sampler = Sampler.load(path, "cpu")
    images = sampler.sample(70, seed=3, first=5)
    assert images.dtype == np.uint8
    assert images.shape == (70, *SHAPE)
    np.testing.assert_allclose(images, _expected(latents(3, 5, 70, DIM)), atol=1)
    assert sampler.contract == CONTRACT
    assert sampler.model_hash == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_image_i_of_a_seed_is_the_same_however_it_is_asked_for(path: Path, threads: int) -> None:
    whole = Sampler.load(path, "cpu").sample(200, seed=9)
    sampler = Sampler.load(path, "cpu", threads)
    for first, n in ((0, 1), (0, 2), (0, 64), (0, 65), (63, 2), (17, 100), (199, 1)):
        np.testing.assert_array_equal(sampler.sample(n, 9, first), whole[first : first + n])
    np.testing.assert_array_equal(sampler.run(latents(9, 0, 200, DIM)), whole)


def test_other_seeds_give_other_images(path: Path) -> None:
    sampler = Sampler.load(path, "cpu")
    assert (sampler.sample(4, seed=0) != sampler.sample(4, seed=1)).mean() > 0.5
    assert sampler.sample(0).shape == (0, *SHAPE)


def test_large_images_are_drawn_few_at_a_time(path: Path) -> None:
    session = session_module.open_session(path.read_bytes(), "g", "cpu", 0)
    contract = Contract(latent_dim=4, image_shape=(1024, 1024, 3))
    assert Sampler(session, contract, "").batch_size == 2


def test_a_size_that_changes_while_a_batch_is_drawn_leaves_no_image_out(path: Path) -> None:
    class Restless(Sampler):
        """Another thread, a service trying sizes, sets the size whenever it is read."""

        @property
        def batch_size(self) -> int:
            self.reads = 1 + self.__dict__.get("reads", 0)
            return 8 if self.reads % 2 else 3

        @batch_size.setter
        def batch_size(self, images: int) -> None:
            pass

    calm, restless = Sampler.load(path, "cpu"), Restless.load(path, "cpu")
    for _ in range(2):
        np.testing.assert_array_equal(restless.sample(40, seed=3), calm.sample(40, seed=3))
        np.testing.assert_array_equal(restless.run(calm.latents(40)), calm.run(calm.latents(40)))


def test_fixed_batches_give_the_same_images_and_need_no_calibration(path: Path) -> None:
    plain = Sampler.load(path, "cpu")
    sampler = Sampler.load(path, "cpu", batches=[16, 1, 16])
    assert sampler.batch_size == sampler.calibrate() == 16
    assert [len(part) for part in sampler.stream(35)] == [16, 16, 3]
    np.testing.assert_array_equal(sampler.sample(35, seed=4), plain.sample(35, seed=4))
    np.testing.assert_array_equal(sampler.interpolate([1, 2], 3), plain.interpolate([1, 2], 3))
    assert sampler.run(np.zeros((0, DIM))).shape == (0, *SHAPE)


@pytest.mark.parametrize("batches", [[], [0], [1025], [16, -1], [1.0], ["16"], "16", [True]])
def test_batches_that_are_none_are_refused(path: Path, batches: Any) -> None:
    with pytest.raises(InputError, match="batches must"):
        Sampler.load(path, "cpu", batches=batches)


def test_a_walk_goes_on_the_sphere_from_image_to_image(path: Path) -> None:
    sampler = Sampler.load(path, "cpu")
    ends = sampler.latents(6, seed=4)
    walk = sampler.walk(ends[0::2], ends[1::2], 5)
    images = sampler.sample(6, seed=4)
    assert walk.shape == (3, 5, *SHAPE)
    np.testing.assert_array_equal(walk[:, 0], images[0::2])
    np.testing.assert_array_equal(walk[:, -1], images[1::2])
    np.testing.assert_array_equal(walk[1, 2], sampler.run(slerp(ends[2:3], ends[3:4], 0.5))[0])


def test_an_interpolation_visits_image_0_of_each_seed(path: Path) -> None:
    sampler = Sampler.load(path, "cpu")
    walk = sampler.interpolate([5, 9, 5], 4)
    five, nine = sampler.sample(1, seed=5)[0], sampler.sample(1, seed=9)[0]
    assert walk.shape == (2, 4, *SHAPE)
    for got, expected in ((walk[0, 0], five), (walk[0, -1], nine), (walk[1, 0], nine)):
        np.testing.assert_array_equal(got, expected)


def test_a_stream_gives_the_same_images_in_bounded_parts(path: Path) -> None:
    sampler = Sampler.load(path, "cpu")
    parts = list(sampler.stream(301, seed=2, first=7))
    assert {len(part) for part in parts[:-1]} <= {sampler.batch_size}
    assert len(parts[-1]) <= sampler.batch_size
    np.testing.assert_array_equal(np.concatenate(parts), sampler.sample(301, seed=2, first=7))
    assert list(sampler.stream(0)) == []


def test_truncated_latents_make_the_truncated_images(path: Path) -> None:
    sampler = Sampler.load(path, "cpu")
    drawn = sampler.latents(9, seed=1, truncation=0.4)
    assert np.abs(drawn).max() <= np.float32(0.4)
    np.testing.assert_array_equal(sampler.sample(9, 1, truncation=0.4), sampler.run(drawn))


def test_the_batch_size_is_found_once_and_remembered(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    drawn: list[int] = []
    now_s = 0.0

    def draw(size: int) -> None:
        nonlocal now_s
        drawn.append(size)
        now_s += 0.002 * max(1.0, size / 32)

    monkeypatch.setattr("monge.serving.batch_size.time.perf_counter", lambda: now_s)

    assert batch_size.fastest(draw, 256, "a") == 32
    tried = len(drawn)
    assert batch_size.fastest(draw, 256, "a") == 32
    assert len(drawn) == tried
    assert batch_size.fastest(draw, 16, "b") == 16
    assert batch_size.fastest(draw, 3, "c") == 3  # too large for any of the sizes
    monkeypatch.setattr(batch_size, "_LONG_S", 0.003)
    drawn.clear()
    batch_size.fastest(draw, 256, "d")
    assert max(drawn) == 64  # takes 4 ms: no larger one is tried
    (tmp_path / "monge/batch-sizes.json").write_text("{")
    assert batch_size.fastest(draw, 256, "a") == 32
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert batch_size.fastest(draw, 256, "a") == 32
    monkeypatch.undo()
    assert Sampler.load(path, "cpu").calibrate() in batch_size.SIZES


@pytest.fixture
def web(path: Path) -> Iterator[str]:
    """A web server on loopback over the model's folder."""
    handler = functools.partial(_Quiet, directory=path.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_a_web_address_is_opened_like_a_file(web: str, path: Path) -> None:
    got = Sampler.load(f"{web}/generator.onnx", "cpu")
    assert got.model_hash == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ModelFileError, match="answered 404"):
        Sampler.load(f"{web}/none.onnx")
    with pytest.raises(ServiceError, match="cannot be fetched"):
        Sampler.load("http://127.0.0.1:9/generator.onnx")


def test_a_password_in_an_address_is_sent_and_not_told(path: Path) -> None:
    with proxy(credentials="al:hush/hush") as server:
        server.page = path.read_bytes()
        where = server.address.replace("//", "//al:{}@")
        with pytest.raises(ModelFileError, match=r"\*\*\*@.*: the server answered 401") as refused:
            Sampler.load(where.format("wrong-hush") + "/g.onnx?token=hushhush")
        assert len(Sampler.load(where.format("hush%2Fhush") + "/g.onnx").sample(2)) == 2
    assert "hush" not in str(refused.value)


def test_a_download_that_breaks_off_is_told_from_a_damaged_file(path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_answer_half, args=(server, path.read_bytes()))
        thread.start()
        with pytest.raises(ServiceError, match="broke off after|cannot be fetched"):
            Sampler.load(f"http://127.0.0.1:{server.getsockname()[1]}/x")
        thread.join()


def _answer_half(server: socket.socket, data: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(65536)
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data)
        connection.sendall(head + data[: len(data) // 2])


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda s: s.sample(-1), "number of images"),
        (lambda s: s.sample(10_000_001), "number of images"),
        (lambda s: s.sample(1, seed=-1), "seed"),
        (lambda s: s.sample(2, first=2**64 - 1), "indices"),
        (lambda s: s.run(np.zeros((2, 7))), "shape"),
        (lambda s: s.run(np.zeros(8)), "shape"),
        (lambda s: s.run(np.array([["x"] * 8])), "numbers"),
        (lambda s: s.run(np.full((1, 8), np.nan)), "finite"),
        (lambda s: s.run(np.full((1, 8), 1e39)), "finite"),
        (lambda s: s.sample("3"), "n must be a whole number, got '3'"),
        (lambda s: s.sample(3.0), "whole number"),
        (lambda s: s.sample(True), "whole number"),
        (lambda s: s.sample(1, seed=1.5), "seed must be a whole number"),
        (lambda s: s.sample(1, truncation=0), "truncation must be from"),
        (lambda s: s.sample(1, truncation=float("nan")), "truncation must be from"),
        (lambda s: s.sample(1, truncation="x"), "truncation must be a number"),
        (lambda s: list(s.stream(-1)), "number of images"),
        (lambda s: s.interpolate([1], 5), "two seeds"),
        (lambda s: s.interpolate([1, 2], 1), "steps"),
        (lambda s: s.interpolate([1, 2], 10_000_001), "steps"),
    ],
)
def test_what_makes_no_sense_is_refused(path: Path, call: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        call(Sampler.load(path, "cpu"))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 1023, 1024, 2999])
def test_one_number_that_is_none_is_found_wherever_it_is(path: Path, bad: float, row: int) -> None:
    batch = latents(0, 0, 3000, DIM)
    batch[row, -1] = bad
    with pytest.raises(InputError, match="finite"):
        Sampler.load(path, "cpu").checked(batch)


def test_large_numbers_are_not_taken_for_infinite(path: Path) -> None:
    batch = np.full((3000, DIM), np.finfo(np.float32).max)
    assert Sampler.load(path, "cpu").checked(batch) is batch


def test_more_than_memory_should_hold_is_refused_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "MAX_RESULT_BYTES", 1000)
    with pytest.raises(InputError, match="in parts"):
        Sampler.load(path, "cpu").sample(12)


def test_a_missing_file_says_where_files_come_from(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"no such file.*monge export"):
        Sampler.load(tmp_path / "none.onnx")
    with pytest.raises(ModelFileError, match="not a file"):
        Sampler.load(tmp_path)


@pytest.mark.parametrize("provider", ["auto", "cpu", "cuda"])
@pytest.mark.parametrize("damage", ["truncated", "text", "empty", "noise"])
def test_a_damaged_file_is_refused_in_one_line(
    path: Path, damage: str, provider: str, capfd: pytest.CaptureFixture[str]
) -> None:
    data = path.read_bytes()
    path.write_bytes(
        {
            "truncated": data[: len(data) // 2],
            "text": b"not a model",
            "empty": b"",
            "noise": np.random.default_rng(0).bytes(5000),
        }[damage]
    )
    with pytest.raises(ModelFileError, match=r"generator\.onnx") as caught:
        Sampler.load(path, provider)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_a_foreign_onnx_file_is_told_from_a_generator(path: Path) -> None:
    model = _model()
    del model.metadata_props[:]
    onnx.save(model, path)
    with pytest.raises(ModelFileError, match="has no contract"):
        Sampler.load(path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"latent_dim": 9}, "input must be"),
        ({"image_shape": [5, 6, 3]}, "output must be"),
        ({"format_version": 4}, "upgrade monge"),
        ({"step": "x"}, "step must be"),
    ],
)
def test_a_file_that_breaks_its_contract_is_refused(
    path: Path, change: dict[str, object], told: str
) -> None:
    onnx.save(_model(contract=json.dumps(json.loads(CONTRACT.to_json()) | change)), path)
    with pytest.raises(ModelFileError, match=told) as caught:
        Sampler.load(path)
    assert str(path) in str(caught.value)


def test_an_output_of_another_name_is_refused(path: Path) -> None:
    onnx.save(_model("pictures"), path)
    with pytest.raises(ModelFileError, match="output must be"):
        Sampler.load(path)


def test_a_file_larger_than_any_generator_is_not_read(path: Path) -> None:
    os.truncate(path, (2 << 30) + 1)  # sparse: takes no space
    with pytest.raises(ModelFileError, match="2 GiB"):
        Sampler.load(path)


def test_a_provider_or_thread_count_that_is_none_is_refused(path: Path) -> None:
    with pytest.raises(InputError, match="provider"):
        Sampler.load(path, "tpu")
    with pytest.raises(InputError, match="threads"):
        Sampler.load(path, threads=-1)


@pytest.mark.skipif(session_module._has_gpu(), reason="there is a GPU here")
def test_cuda_without_a_gpu_is_refused_and_auto_says_what_it_took(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(DeviceError, match="no CUDA device"):
        Sampler.load(path, "cuda")
    with caplog.at_level("INFO"):
        assert Sampler.load(path).provider == "cpu"
    assert "runs on cpu" in caplog.text


@pytest.mark.skipif(session_module._has_gpu(), reason="there is a GPU here")
def test_a_gpu_whose_cuda_does_not_start_is_not_taken_for_one_that_does(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The driver answers, the runtime cannot: the silent fall back to the CPU must not happen."""
    monkeypatch.setattr(session_module, "_has_gpu", lambda: True)
    with pytest.raises(DeviceError, match="CUDA does not start"):
        Sampler.load(path, "cuda")
    assert Sampler.load(path).provider == "cpu"
    assert "CUDA does not start" in caplog.text


def test_on_a_gpu_the_provider_is_read_from_the_session(path: Path) -> None:
    if not session_module._has_gpu():
        pytest.skip("no GPU here; the refusals above are what can be seen without one")
    sampler = Sampler.load(path, "cuda")
    assert sampler.provider == "cuda"
    np.testing.assert_allclose(sampler.sample(70), Sampler.load(path, "cpu").sample(70), atol=1)


def test_a_registry_address_without_the_pipeline_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setitem(sys.modules, "monge.registry.names", None)
    with pytest.raises(MissingExtra, match=r"monge\[pipeline\]"):
        Sampler.load("models:/digits@champion")


def test_a_registry_is_asked_once_even_if_its_alias_moves_before_a_picture_is_marked(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = iter(range(3, 9))

    def look_up(address: str) -> origin.Found:
        return origin.Found("digits", next(versions), "", lambda: path, lambda: None)

    monkeypatch.setattr(origin, "look_up", look_up)
    sampler = Sampler.load("models:/digits@champion", "cpu")
    assert sampler.encoder is None
    assert origin.called(sampler.origin) == "models:/digits/3"
    assert next(versions) == 4


def test_sampling_imports_nothing_heavy_and_leaves_nothing_in_the_home_folder(
    path: Path, tmp_path: Path
) -> None:
    code = (
        "import sys, numpy\n"
        "from pathlib import Path\n"
        "from monge.serving.sampler import Sampler\n"
        "from monge.serving.pictures import write\n"
        "write(Sampler.load(sys.argv[1]).sample(4), Path(sys.argv[2]))\n"
        "heavy = {'torch', 'onnx', 'mlflow', 'scipy', 'pydantic', 'sklearn', 'matplotlib',\n"
        "         'yaml', 'prefect', 'sympy'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "print(sorted(n for n in sys.modules if n.startswith('monge')))\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ORT_")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(tmp_path / "grid.png")],
        capture_output=True, text=True, check=True, timeout=400,
        env=environment | {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")},
    )  # fmt: skip
    heavy, ours = done.stdout.splitlines()
    assert heavy == "[]"
    assert ours == str(
        ["monge", "monge.alpha", "monge.contract", "monge.credentials", "monge.errors",
         "monge.files", "monge.labels", "monge.latents", "monge.normals", "monge.operators",
         "monge.outputs", "monge.pictures", "monge.serving", "monge.serving.batch_size",
         "monge.serving.bucket", "monge.serving.checks", "monge.serving.marks",
         "monge.serving.opening", "monge.serving.origin", "monge.serving.pictures",
         "monge.serving.reasons", "monge.serving.sampler", "monge.serving.session",
         "monge.serving.shares", "monge.signatures"]
    )  # fmt: skip
    assert (tmp_path / "grid.png").is_file()
    assert list(home.rglob("*")) == []

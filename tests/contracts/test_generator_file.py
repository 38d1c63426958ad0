"""The generator file: every net and size draws the network's images, and says what it is."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from monge.contract import METADATA_KEY, Contract
from monge.errors import ModelFileError
from monge.export import winograd
from monge.export.graph import Form
from monge.export.images import VALUES
from monge.export.onnx import write_generator
from monge.export.parity import write_checked
from monge.latents import latents
from monge.nets import dcgan, mlp
from monge.operators import WEIGHTS_KEY
from monge.serving.sampler import Sampler

DOCUMENT = Path(__file__).parents[2] / "docs" / "reference" / "generator-file.md"


def _generator(net: str, size: int, channels: int) -> nn.Module:
    """A small generator as after some training: large values, lively batch norms."""
    torch.manual_seed(size + channels)
    shape = (channels, size, size)
    generator: nn.Module = (
        mlp.Generator(16, shape, 3, 64)
        if net == "mlp"
        else dcgan.Generator(16, shape, 4 if size < 128 else 2, plain=net == "dcgan-plain")
    )
    for layer in generator.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            nn.init.uniform_(layer.running_var, 0.002, 0.02)
            nn.init.normal_(layer.running_mean, 0.0, 0.05)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
        elif isinstance(layer, nn.Linear) or net == "dcgan-plain":
            for weight in layer.parameters(recurse=False):
                nn.init.normal_(weight, 0.0, 0.2)
    return generator


def _contract(size: int, channels: int, **others: Any) -> Contract:
    return Contract(latent_dim=16, image_shape=(size, size, channels), **others)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("digits") / "generator.onnx"
    classes = tuple("0123456789")
    write_generator(_generator("mlp", 8, 1), _contract(8, 1, classes=classes, step=7), path)
    return path


NETS = [
    ("dcgan", 8), ("dcgan", 16), ("dcgan", 32), ("dcgan", 64), ("dcgan", 128),
    ("dcgan-plain", 8), ("dcgan-plain", 16), ("dcgan-plain", 64), ("mlp", 8), ("mlp", 28),
]  # fmt: skip
BATCHES = (1, 2, 3, 7, 64, 257)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("net", "size"), NETS)
@pytest.mark.parametrize("form", ["latency", "throughput"])
def test_the_file_is_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Any, net: str, size: int, channels: int
) -> None:
    """The network itself, in PyTorch, is the reference, at every batch size."""
    monkeypatch.setattr(winograd, "_WORTH", 0.0)  # so that narrow layers take its form as well
    generator = _generator(net, size, channels)
    path = tmp_path / "generator.onnx"
    write_checked(generator, _contract(size, channels), path, 1e-4, Form(optimize_for=form))
    model = onnx.load(path)
    takes_winograd = form == "throughput" and net != "mlp"
    assert ("MatMul" in {node.op_type for node in model.graph.node}) == takes_winograd
    model.graph.output.append(onnx.helper.make_tensor_value_info(VALUES, 1, None))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    differences = []
    for n in BATCHES:
        x = latents(n, 0, n, 16)
        drawn, values = session.run(["images", VALUES], {"latents": x})
        with torch.no_grad():
            network = generator.eval()(torch.from_numpy(x)).permute(0, 2, 3, 1).numpy()
        assert drawn.dtype == np.uint8
        assert drawn.shape == (n, size, size, channels)
        values = values if values.ndim == 2 else values.transpose(0, 2, 3, 1)
        difference = np.abs(2 * values.reshape(network.shape).astype(np.float64) - 1 - network)
        assert difference.max() < 1e-4
        levels = np.rint((network + np.float32(1)) * np.float32(127.5))
        apart = np.abs(drawn - levels)
        assert apart.max() <= 1
        assert (apart > 0).mean() <= 1e-3
        differences.append(np.median(difference))
    assert max(differences) < 1e-6
    assert drawn.std() > 5


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("net", "size"), [("dcgan", 32), ("dcgan-plain", 16), ("mlp", 28)])
def test_the_file_is_the_definition_in_float64(
    tmp_path: Path, net: str, size: int, channels: int
) -> None:
    """Apart from the package's own comparison, and from what float32 makes of it."""
    generator = _generator(net, size, channels)
    path = tmp_path / "generator.onnx"
    write_generator(generator, _contract(size, channels), path)
    x = latents(5, 0, 7, 16)
    images = onnxruntime.InferenceSession(path).run(None, {"latents": x})[0]
    with torch.no_grad():
        values = generator.double().eval()(torch.from_numpy(x).double()).numpy()
    exact = ((values + 1) * 127.5).transpose(0, 2, 3, 1)
    assert np.abs(images - exact).max() < 0.51


def test_the_same_weights_and_contract_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_generator(_generator("dcgan", 8, 3), _contract(8, 3), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_bytes_do_not_depend_on_the_process(tmp_path: Path, digits: Path) -> None:
    code = (
        "import sys, pathlib, importlib.util\n"
        "spec = importlib.util.spec_from_file_location('tests_generator_file', sys.argv[1])\n"
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)\n"
        "module.write_generator(module._generator('mlp', 8, 1), module._contract(8, 1,\n"
        "    classes=tuple('0123456789'), step=7), pathlib.Path(sys.argv[2]))\n"
    )
    again = tmp_path / "again.onnx"
    command = [sys.executable, "-c", code, __file__, str(again)]
    # The weights are drawn anew, and another processor's kernels draw other last bits.
    processor = {"ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "OPENBLAS_CORETYPE"}
    kept = {name: os.environ[name] for name in processor & os.environ.keys()}
    environment = {"PYTHONHASHSEED": "77", "PATH": ""} | kept
    subprocess.run(command, check=True, timeout=400, env=environment)
    assert again.read_bytes() == digits.read_bytes()


def test_the_file_is_self_contained_and_as_documented(digits: Path) -> None:
    model = onnx.load(digits, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, model.opset_import[0].version) == (7, 13)
    assert [item.domain for item in model.opset_import] == [""]
    assert not any(item.data_location for item in model.graph.initializer)
    (latents_in,), (images_out,) = model.graph.input, model.graph.output
    assert (latents_in.name, images_out.name) == ("latents", "images")
    assert latents_in.type.tensor_type.shape.dim[0].dim_param == "n"
    assert images_out.type.tensor_type.shape.dim[0].dim_param == "n"


def test_the_contract_comes_back_from_the_metadata_whole(tmp_path: Path) -> None:
    contract = _contract(
        8, 3,
        classes=("cat", "döner", "日"), dataset_hash="ab" * 32, git_revision="c0ffee", run="r-1",
        step=1234, weights="raw", parameters={"net": "dcgan", "dcgan": {"features": 4}},
        metrics={"frechet": {"value": 1.5}},
    )  # fmt: skip
    path = tmp_path / "generator.onnx"
    write_generator(_generator("dcgan", 8, 3), contract, path)
    metadata = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    assert Contract.from_json(metadata[METADATA_KEY]) == contract


@pytest.mark.parametrize("place", [0.0, 0.37, 1.0])
def test_one_flipped_bit_of_the_weights_is_noticed_and_a_file_without_a_checksum_opens(
    tmp_path: Path, place: float
) -> None:
    path = tmp_path / "generator.onnx"
    write_generator(_generator("dcgan", 8, 3), _contract(8, 3), path)
    data = bytearray(path.read_bytes())
    model = onnx.load_model_from_string(bytes(data))
    largest = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data)).raw_data
    at = bytes(data).index(largest) + round(place * (len(largest) - 1))
    data[at] ^= 1 << 3
    with pytest.raises(ModelFileError, match="its weights are not those that were exported"):
        Sampler.load(_written(tmp_path / "flipped.onnx", bytes(data)))
    kept = [item for item in model.metadata_props if item.key != WEIGHTS_KEY]
    assert len(kept) == len(model.metadata_props) - 1
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    earlier = Sampler.load(_written(tmp_path / "earlier.onnx", model.SerializeToString()))
    assert np.array_equal(earlier.sample(3), Sampler.load(path).sample(3))


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_the_file_runs_as_its_page_says_without_monge(tmp_path: Path, digits: Path) -> None:
    """The page's own example, in a process in which importing monge or torch fails."""
    (example,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.S)
    guard = "import sys\nfor name in ('monge', 'torch', 'onnx'): sys.modules[name] = None\n"
    (tmp_path / "generator.onnx").write_bytes(digits.read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", guard + example],
        cwd=tmp_path, capture_output=True, text=True, check=True, timeout=400,
    )  # fmt: skip
    assert done.stdout.split("\n")[0] == "[8, 8, 1] standard normal, monge latents v1"
    assert (tmp_path / "first.png").stat().st_size > 50


def test_the_page_names_every_key_of_the_contract() -> None:
    named = set(re.findall(r"^\| `(\w+)` \|", DOCUMENT.read_text(encoding="utf-8"), re.M))
    assert {field.name for field in dataclasses.fields(Contract)} <= named


@pytest.mark.parametrize("net", ["mlp", "dcgan"])
def test_a_rows_bits_do_not_depend_on_its_batch_or_the_threads(tmp_path: Path, net: str) -> None:
    """What the sampler's promise rests on: floats, not only the bytes that hide small changes."""
    path = tmp_path / "generator.onnx"
    write_generator(_generator(net, 32, 3), _contract(32, 3), path)
    model = onnx.load(path)
    model.graph.output.append(onnx.helper.make_tensor_value_info(VALUES, 1, None))
    data, x, reference = model.SerializeToString(), latents(0, 0, 48, 16), None
    for threads in (1, 2, 3):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(data, options)
        for size in (1, 2, 5, 16, 48):
            parts = [
                session.run([VALUES], {"latents": x[i : i + size]})[0] for i in range(0, 48, size)
            ]
            values = np.concatenate(parts)
            reference = values if reference is None else reference
            np.testing.assert_array_equal(values, reference)


# The contract's text


def _document(**changes: Any) -> str:
    document = json.loads(_contract(8, 1).to_json())
    document.update(changes)
    return json.dumps(document)


def test_a_contract_of_the_first_version_is_that_of_a_generator_without_labels() -> None:
    document = json.loads(_document(format_version=1, classes=["a"]))
    for later in ("label_shares", "code", "export_parameters", "export_revision"):
        del document[later]
    read = Contract.from_json(json.dumps(document))
    assert read == Contract(latent_dim=16, image_shape=(8, 8, 1), classes=("a",))
    assert not read.conditional


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not JSON"),
        ("[1]", "mapping"),
        ("[" * 100_000, "not JSON"),
        ('{"step": NaN}', "not JSON"),
        (_document(step=1)[:-5], "not JSON"),
        (" " * 2_000_000, "characters long"),
        (_document(format_version=4), "upgrade monge"),
        (_document(format_version="1"), "format_version"),
        (_document(format_version=0), "format_version"),
        (_document(surprise=1), "unknown keys surprise"),
        (_document(format_version=2), "unknown keys code"),
        (_document(format_version=1), "label_shares"),
        (_document(classes=["a", "b"], label_shares=[0.5]), "label_shares"),
        (_document(classes=["a", "b"], label_shares=[0.5, 0.6]), "label_shares"),
        (_document(classes=["a", "b"], label_shares=[1.5, -0.5]), "label_shares"),
        (_document(classes=["a", "b"], label_shares=["0.5", "0.5"]), "label_shares"),
        ('{"format_version": 1}', "missing keys"),
        (_document(latent_dim=0), "latent_dim"),
        (_document(latent_dim=True), "latent_dim"),
        (_document(latent_dim=8.0), "latent_dim"),
        (_document(latent_dim=10**9), "latent_dim"),
        (_document(image_shape=[8, 8]), "image_shape"),
        (_document(image_shape=[8, 8, 2]), "image_shape"),
        (_document(image_shape=[0, 8, 1]), "image_shape"),
        (_document(image_shape="881"), "image_shape"),
        (_document(value_range=[0, 1]), "value_range"),
        (_document(latent_distribution="uniform"), "latent_distribution"),
        (_document(classes=[1]), "classes"),
        (_document(weights="best"), "weights"),
        (_document(weights=["raw"]), "weights"),
        (_document(step=-1), "step"),
        (_document(run=5), "run"),
        (_document(parameters=[]), "parameters"),
        (_document(monge_version=None), "monge_version"),
    ],
)
def test_a_broken_contract_is_refused_in_one_line(text: str, told: str) -> None:
    with pytest.raises(ModelFileError, match=told) as caught:
        Contract.from_json(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@given(st.text(max_size=200) | st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
).map(json.dumps))  # fmt: skip
def test_any_text_is_a_contract_or_a_model_file_error(text: str) -> None:
    with pytest.raises(ModelFileError):
        Contract.from_json(text)


def test_equal_contracts_are_equal_texts() -> None:
    a = _contract(8, 1, parameters={"b": 1, "a": 2})
    b = _contract(8, 1, parameters={"a": 2, "b": 1})
    assert a.to_json() == b.to_json()
    assert Contract.from_json(a.to_json()) == a

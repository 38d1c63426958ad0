"""Winograd's form of the transposed convolution equals its definition, at every size and batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from monge import nets
from monge.contract import Contract
from monge.export import winograd
from monge.export.graph import Form, Graph, start
from monge.export.onnx import serialise
from monge.export.parity import check, write_checked
from monge.latents import latents
from monge.params import TrainParams
from monge.serving.sampler import Sampler


def layer(kernel, bias, height: int, width: int, m: int) -> onnxruntime.InferenceSession:
    graph = Graph()
    value = winograd.append(graph, start("x", (kernel.shape[0], height, width)), kernel, bias, m)
    value = graph.lying(value, value.shape)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4)
        for name in ("x", value.name)
    ]
    ends[0] = helper.make_tensor_value_info(
        "x", TensorProto.FLOAT, ["n", kernel.shape[0], height, width]
    )
    model = helper.make_model(
        helper.make_graph(graph.nodes, "layer", ends[:1], ends[1:], graph.weights),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=7,
    )
    onnx.checker.check_model(model)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


@pytest.mark.parametrize("m", [2, 4])
@pytest.mark.parametrize(
    ("channels", "filters", "height", "width"),
    [(3, 2, 4, 4), (1, 1, 1, 1), (8, 5, 7, 6), (16, 3, 8, 8), (5, 7, 3, 9), (2, 4, 16, 5)],
)
def test_it_is_the_transposed_convolution(m, channels, filters, height, width):
    dice = np.random.default_rng(m)
    kernel = dice.normal(size=(channels, filters, 4, 4))
    bias = dice.normal(size=filters)
    session = layer(kernel, bias, height, width, m)
    for n in (1, 2, 3, 7):
        x = dice.normal(size=(n, channels, height, width)).astype(np.float32)
        got = session.run(None, {"x": x})[0]
        expected = torch.nn.functional.conv_transpose2d(
            torch.from_numpy(x).double(), torch.from_numpy(kernel), torch.from_numpy(bias),
            stride=2, padding=1,
        ).numpy()  # fmt: skip
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("m", [2, 4])
def test_the_matrices_are_exact_in_one_dimension(m):
    b, g, a = winograd.matrices(m)
    dice = np.random.default_rng(0)
    x, w = dice.normal(size=m + 2), dice.normal(size=4)
    expected = [
        x[p] * w[3] + x[p + 1] * w[1] if odd == 0 else x[p + 1] * w[2] + x[p + 2] * w[0]
        for p in range(m)
        for odd in (0, 1)
    ]
    np.testing.assert_allclose(a @ ((g @ w) * (b @ x)), expected, atol=1e-12)


def test_the_plan_takes_it_for_wide_deep_layers_and_not_for_the_last_one():
    """The layers of DCGAN-64 with f = 64, as measured: docs/lab-log.md."""
    chosen = [winograd.plan(*sizes) for sizes in (
        (1024, 512, 4, 4), (512, 256, 8, 8), (256, 128, 16, 16), (128, 3, 32, 32), (64, 32, 8, 8),
    )]  # fmt: skip
    assert chosen == [2, 4, 4, 0, 0]
    assert winograd.plan(4096, 4096, 2, 2) == 0  # one tile would be the map
    assert winograd.plan(512, 512, 1, 1) == 0


def wide():
    """A generator wide enough that the plan takes Winograd's form in it."""
    train = TrainParams.model_validate(
        {"net": "dcgan", "latent_dim": 24, "dcgan": {"features": 64}}
    )
    torch.manual_seed(0)
    generator = nets.build("generator", train, (3, 32, 32)).eval()
    with torch.no_grad():
        for weight in generator.parameters():
            if weight.dim() > 1:
                weight.mul_(1.5)
    return generator, Contract(latent_dim=24, image_shape=(32, 32, 3))


def test_a_throughput_file_is_the_network_and_no_image_depends_on_its_batch(tmp_path: Path):
    generator, contract = wide()
    path = tmp_path / "generator.onnx"
    parity = write_checked(generator, contract, path, 1e-4, Form(optimize_for="throughput"))
    assert parity.max_grey_levels <= 1
    assert parity.word == "equals"
    operators = [node.op_type for node in onnx.load(path).graph.node]
    assert "MatMul" in operators
    assert path.stat().st_size < 1.02 * len(serialise(generator, contract))
    for threads in (1, 2, 5):
        sampler = Sampler.load(path, "cpu", threads)
        session = sampler._session
        whole = session.run({"latents": latents(0, 0, 257, 24)})
        for n in (1, 2, 3, 7, 64):
            part = session.run({"latents": latents(0, 0, n, 24)})
            assert np.array_equal(part, whole[:n])


@pytest.mark.parametrize(
    ("form", "size"),
    [
        (Form("float16"), 0.55),
        (Form("int8"), 0.3),
        (Form("int8", "throughput"), 0.3),
    ],
    ids=str,
)
def test_a_smaller_variant_is_smaller_and_near(tmp_path: Path, form: Form, size: float):
    generator, contract = wide()
    path = tmp_path / "generator.onnx"
    parity = write_checked(generator, contract, path, 1e-4, form)
    assert parity.word == "comes near"
    assert path.stat().st_size < size * len(serialise(generator, contract))
    exact = tmp_path / "exact.onnx"
    write_checked(generator, contract, exact, 1e-4)
    got, expected = (Sampler.load(p, "cpu").sample(64).astype(float) for p in (path, exact))
    assert 0 < np.abs(got - expected).mean() < (0.1 if form.variant == "float16" else 1.5)


def test_a_smaller_variant_that_is_not_the_network_is_refused(tmp_path: Path):
    generator, contract = wide()
    path = tmp_path / "generator.onnx"
    path.write_bytes(serialise(generator, contract, Form("int8")))
    with torch.no_grad():
        next(generator.parameters()).mul_(1.3)
    with pytest.raises(Exception, match=r"away from the network \(allowed: 10%\)"):
        check(generator, path, contract, 1e-4, "int8")
    assert not path.exists()

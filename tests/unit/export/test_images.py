"""The end of the graph: bytes by the definition, whatever a net ends in, and in few operators."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from monge.contract import Contract
from monge.export import images
from monge.export.graph import Form, Graph, start
from monge.export.onnx import OPSET, serialise
from monge.export.parity import write_checked
from monge.latents import latents

SHAPE = (4, 6, 3)  # H, W, C
CONTRACT = Contract(latent_dim=8, image_shape=SHAPE)
PIXELS = nn.Unflatten(1, (3, 4, 6))


def _trained(net: nn.Sequential) -> nn.Sequential:
    torch.manual_seed(0)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            nn.init.normal_(layer.running_mean, 0.0, 0.3)
            nn.init.uniform_(layer.running_var, 0.2, 2.0)
        for parameter in layer.parameters(recurse=False):
            nn.init.normal_(parameter, 0.0, 0.4)
    return net.eval()


def _maps(*rest: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 5 * 2 * 3), nn.ReLU(), nn.Unflatten(1, (5, 2, 3)), *rest)


def _up() -> nn.Module:
    return nn.ConvTranspose2d(5, 3, 4, 2, 1)


TANH = {
    "linear": nn.Sequential(nn.Linear(8, 72), nn.Tanh(), PIXELS),
    "linear-shape-first": nn.Sequential(nn.Linear(8, 72), PIXELS, nn.Tanh()),
    "linear-norm": nn.Sequential(nn.Linear(8, 72), nn.BatchNorm1d(72), nn.Tanh(), PIXELS),
    "linear-plain-norm": nn.Sequential(
        nn.Linear(8, 72, bias=False), nn.BatchNorm1d(72, affine=False), PIXELS, nn.Tanh()
    ),
    "transposed": _maps(_up(), nn.Tanh()),
    "transposed-norm": _maps(_up(), nn.BatchNorm2d(3), nn.Tanh()),
    "transposed-reshaped": _maps(_up(), nn.Flatten(), PIXELS, nn.Tanh()),
    "convolution": _maps(_up(), nn.ReLU(), nn.Conv2d(3, 3, 3, 1, 1), nn.Tanh()),
    "nested": nn.Sequential(nn.Sequential(nn.Linear(8, 72)), nn.Sequential(nn.Tanh(), PIXELS)),
}
OTHERS = {
    "no-tanh": _maps(_up()),  # its values go far beyond [-1, 1]
    "sigmoid": _maps(_up(), nn.Sigmoid()),
    "tanh-after-relu": _maps(_up(), nn.ReLU(), nn.Tanh()),
    "tanh-after-two-norms": _maps(_up(), nn.BatchNorm2d(3), nn.BatchNorm2d(3), nn.Tanh()),
    "tanh-tanh": _maps(_up(), nn.Tanh(), nn.Tanh()),
}


def _operators(net: nn.Module, form: Form | None = None) -> list[str]:
    model = onnx.load_model_from_string(serialise(net, CONTRACT, form))
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("name", [*TANH, *OTHERS])
def test_whatever_a_net_ends_in_its_bytes_are_those_of_the_definition(
    tmp_path: Path, name: str
) -> None:
    net = _trained({**TANH, **OTHERS}[name])
    before = copy.deepcopy(net.state_dict())
    path = tmp_path / "generator.onnx"
    parity = write_checked(net, CONTRACT, path, 1e-4)
    assert parity.max_difference < 1e-5
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    x = latents(5, 0, 200, 8)
    drawn = onnxruntime.InferenceSession(path).run(None, {"latents": x})[0]
    with torch.no_grad():
        values = net.double()(torch.from_numpy(x).double()).numpy()
    net.float()
    exact = np.clip((values + 1) * 127.5, 0, 255).transpose(0, 2, 3, 1)
    assert drawn.dtype == np.uint8
    assert np.abs(drawn - exact).max() < 0.502
    assert drawn.std() > 10


@pytest.mark.parametrize("name", TANH)
def test_a_last_tanh_costs_one_operator_and_rounding_one(name: str) -> None:
    operators = _operators(_trained(TANH[name]))
    assert not {"Tanh", "Round", "Clip", "Cast", "Mul", "Add"} & set(operators)
    nothing_moves = name.startswith(("linear", "nested"))
    assert operators[-3:] == ["Sigmoid", "QuantizeLinear", ("Transpose", "Reshape")[nothing_moves]]
    assert (
        operators.count("Reshape") == 1
    )  # the one that makes images of rows, or maps of the first


def test_float16_ends_in_float32() -> None:
    """It has no room for 256 levels below 1."""
    operators = _operators(_trained(TANH["transposed"]), Form("float16"))
    assert operators[-4:] == ["Cast", "Sigmoid", "QuantizeLinear", "Transpose"]


def _bytes_of(values: list[float], *, logistic: bool) -> list[int]:
    graph, value = Graph(), start("x", (1, 1, len(values)))
    images.to_bytes(graph, value, logistic, (1, len(values), 1))
    ends: list[Any] = [
        onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 1, 1, len(values)]),
        onnx.helper.make_tensor_value_info(images.OUTPUT, onnx.TensorProto.UINT8, None),
    ]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(graph.nodes, "end", ends[:1], ends[1:], graph.weights),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=7,
    )
    session = onnxruntime.InferenceSession(model.SerializeToString())
    x = np.array(values, np.float32).reshape(1, 1, 1, -1)
    drawn: list[int] = session.run(None, {"x": x})[0].ravel().tolist()
    return drawn


def test_edges_and_what_lies_beyond_them_are_as_by_the_definition() -> None:
    """0 lies in the middle between 127 and 128: a grey picture must not turn as a whole."""
    huge = [-np.inf, -1e30, 0.0, 1e30, np.inf]
    assert _bytes_of(huge, logistic=True) == [0, 0, 128, 255, 255]
    assert _bytes_of(huge, logistic=False) == [0, 0, 128, 255, 255]
    levels = np.arange(256)
    assert _bytes_of(list(levels / 127.5 - 1), logistic=False) == levels.tolist()
    with np.errstate(divide="ignore"):
        logits = np.log(levels / (255.0 - levels))
    assert _bytes_of(list(logits), logistic=True) == levels.tolist()


def test_hardly_a_value_turns_to_the_grey_level_next_to_it() -> None:
    """About 12 of a million, by the float32 rounding of another function."""
    x = np.random.default_rng(1).normal(0.0, 1.0, 400_000).astype(np.float32)
    drawn = np.array(_bytes_of(list(2 * x), logistic=True))
    network = torch.tanh(torch.from_numpy(x)).numpy()
    expected = np.rint((network + np.float32(1)) * np.float32(127.5))
    assert np.abs(drawn - expected).max() <= 1
    assert (drawn != expected).mean() < 1e-4

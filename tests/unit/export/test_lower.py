"""Lowering: the graph computes what the layers compute, and refuses what it does not know."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper
from torch import nn

from monge.errors import InputError
from monge.export.graph import Graph, start
from monge.export.lower import lower
from monge.latents import latents


def _train_norms(net: nn.Module) -> nn.Module:
    """Give every batch norm statistics and factors that are far from 0 and 1."""
    torch.manual_seed(1)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            nn.init.normal_(layer.running_mean, 0.3, 0.5)
            nn.init.uniform_(layer.running_var, 0.2, 3.0)
            if layer.affine:
                nn.init.uniform_(layer.weight, -1.5, 1.5)
                nn.init.normal_(layer.bias, 0.0, 0.5)
    return net.eval()


def _lowered(net: nn.Module, latent_dim: int) -> tuple[Graph, np.ndarray, np.ndarray]:
    """The graph, what it gives for seven latents, and what the network gives."""
    graph = Graph()
    value = lower(net, graph, start("latents", (latent_dim,)))
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "net",
            [helper.make_tensor_value_info("latents", 1, ["n", latent_dim])],
            [helper.make_tensor_value_info(value.name, 1, ["n", *value.shape])],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=7,
    )
    onnx.checker.check_model(model, full_check=True)
    x = latents(3, 0, 7, latent_dim)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    with torch.no_grad():
        expected = net(torch.from_numpy(x)).numpy()
    got = session.run(None, {"latents": x})[0]
    assert got.shape == (7, *value.shape)
    return graph, got, expected


NETS = {
    "linear": lambda: nn.Sequential(
        nn.Linear(6, 5), nn.LeakyReLU(0.3), nn.Linear(5, 4, bias=False)
    ),
    "linear-norm": lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU()),
    "norm-without-factors": lambda: nn.Sequential(
        nn.Linear(6, 5, bias=False), nn.BatchNorm1d(5, affine=False)
    ),
    "first-transposed": lambda: nn.Sequential(
        nn.Unflatten(1, (6, 1, 1)), nn.ConvTranspose2d(6, 5, 4), nn.BatchNorm2d(5), nn.ReLU()
    ),
    "first-transposed-padded-oblong": lambda: nn.Sequential(
        nn.Unflatten(1, (6, 1, 1)), nn.ConvTranspose2d(6, 5, (5, 4), 2, (1, 0))
    ),
    "first-transposed-output-padding": lambda: nn.Sequential(
        nn.Unflatten(1, (6, 1, 1)), nn.ConvTranspose2d(6, 5, 3, 2, 1, output_padding=1)
    ),
    "transposed-oblong": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 1, 3)),
        nn.ConvTranspose2d(2, 5, (3, 4), (2, 3), (1, 2), (1, 0), dilation=(2, 1)),
        nn.BatchNorm2d(5),
    ),
    "convolution-oblong": lambda: nn.Sequential(
        nn.Linear(6, 2 * 7 * 9),
        nn.Unflatten(1, (2, 7, 9)),
        nn.Conv2d(2, 3, (3, 2), (2, 1), (1, 2), (1, 2), bias=False),
        nn.BatchNorm2d(3, eps=0.1),
    ),
    "lone-norm": lambda: nn.Sequential(
        nn.Linear(6, 12), nn.Unflatten(1, (3, 2, 2)), nn.BatchNorm2d(3), nn.Sigmoid()
    ),
    "norm-first": lambda: nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 2)),
    "two-norms": lambda: nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3), nn.BatchNorm1d(3)),
    "flatten-after-convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 2), nn.Flatten(), nn.Linear(8, 3), nn.Tanh()
    ),
    "nested": lambda: nn.Sequential(
        nn.Sequential(nn.Linear(6, 4), nn.Identity()),
        nn.Sequential(nn.BatchNorm1d(4), nn.Dropout()),
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_the_graph_gives_what_the_layers_give(name: str) -> None:
    torch.manual_seed(0)
    _, got, expected = _lowered(_train_norms(NETS[name]()), 6)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=2e-6)
    assert np.abs(expected).max() > 0.05


def test_batch_norm_leaves_no_node_and_the_first_transposed_convolution_is_one_product() -> None:
    net = nn.Sequential(
        nn.Unflatten(1, (6, 1, 1)),
        nn.ConvTranspose2d(6, 8, 4, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.ConvTranspose2d(8, 3, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip
    graph, _, _ = _lowered(_train_norms(net), 6)
    operators = Counter(node.op_type for node in graph.nodes)
    assert operators == {"Gemm": 1, "Relu": 1, "Reshape": 1, "ConvTranspose": 1, "Tanh": 1}


def test_folding_is_done_in_float64() -> None:
    """A small difference of large numbers: in float32 the fold itself would lose the digits."""
    net = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4, eps=0.0)).eval()
    linear: Any = net[0]
    norm: Any = net[1]
    with torch.no_grad():
        norm.running_mean.fill_(1000.0)
        norm.running_var.fill_(1e-4)
        linear.bias.fill_(1000.1)
    graph, _, _ = _lowered(net, 6)
    bias = onnx.numpy_helper.to_array(graph.weights[1])
    expected = (float(np.float32(1000.1)) - 1000.0) / np.sqrt(float(np.float32(1e-4)))
    np.testing.assert_allclose(bias, np.full(4, expected), rtol=1e-7)


@pytest.mark.parametrize(
    ("net", "told"),
    [
        (nn.Sequential(nn.Linear(6, 4), nn.GELU()), "GELU"),
        (nn.Sequential(nn.Linear(5, 4)), r"takes \[5\], is given \[6\]"),
        (nn.Sequential(nn.Unflatten(1, (2, 3, 1)), nn.Conv2d(2, 2, 1, groups=2)), "one group"),
        (
            nn.Sequential(nn.Unflatten(1, (2, 3, 1)), nn.Conv2d(2, 2, 1, padding_mode="reflect")),
            "zeros",
        ),
        (nn.Sequential(nn.Unflatten(1, (2, 3, 1)), nn.Conv2d(2, 2, 1, padding="same")), "padding"),
        (nn.Sequential(nn.Conv2d(2, 2, 1)), "channels"),
        (nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(3)), "3 channels, is given 4"),
        (
            nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4, track_running_stats=False)),
            "depend on its batch",
        ),
        (nn.Sequential(nn.Unflatten(1, (2, 2))), "split dimension 1"),
        (nn.Sequential(nn.Flatten(0)), "flatten dimensions"),
        (nn.Linear(6, 4), "nn.Sequential named `net`"),
    ],
)
def test_what_is_not_known_is_refused_by_name(net: nn.Module, told: str) -> None:
    with pytest.raises(InputError, match=told):
        lower(net, Graph(), start("latents", (6,)))


def test_a_subclass_is_not_taken_for_its_parent() -> None:
    class Doubling(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(input)

    with pytest.raises(InputError, match="Doubling"):
        lower(nn.Sequential(Doubling(6, 4)), Graph(), start("latents", (6,)))

"""Protects: the file of a conditional network draws what the network draws for each label."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from google.protobuf import text_format
from torch import nn

from monge import nets
from monge.contract import Contract
from monge.errors import InputError, ModelFileError
from monge.export import parity
from monge.export.graph import Form, Graph, start
from monge.export.lower import lower
from monge.export.onnx import serialise
from monge.export.triton import write_repository
from monge.latents import latents
from monge.params import TrainParams
from tests.unit.export.test_triton import definition

SHAPE = (3, 16, 16)
CLASSES = ("a", "b", "c")
CONTRACT = Contract(
    latent_dim=5, image_shape=(16, 16, 3), classes=CLASSES, label_shares=(0.5, 0.5, 0.0)
)


def network(net: str) -> nn.Module:
    train = TrainParams.model_validate(
        {"net": net, "latent_dim": 5, "mlp": {"depth": 2, "width": 16}, "dcgan": {"features": 16}}
    )
    torch.manual_seed(2)
    generator = nets.build("generator", train, SHAPE, len(CLASSES)).eval()
    with torch.no_grad():
        for weight in generator.parameters():
            weight.mul_(3.0)  # so that images differ
    return generator


@pytest.mark.parametrize("net", ["mlp", "dcgan", "dcgan-plain"])
@pytest.mark.parametrize(
    "form", [Form(), Form(optimize_for="throughput"), Form("float16"), Form("int8")]
)
def test_every_label_is_drawn_as_the_network_draws_it(tmp_path: Path, net: str, form: Form):
    generator, path = network(net), tmp_path / "generator.onnx"
    parity.write_checked(generator, CONTRACT, path, 1e-4, form)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [
        ("latents", "tensor(float)", ["n", 5]), ("labels", "tensor(int64)", ["n"]),
    ]  # fmt: skip
    # Of grey levels that may differ, and by how much: the smaller variants are near, not equal.
    share, levels = {"float32": (1e-3, 1), "float16": (0.1, 1), "int8": (0.6, 12)}[form.variant]
    for n in (1, 2, 3, 7, 64, 257):
        batch, labels = latents(1, 0, n, 5), np.arange(n) % 3
        with torch.no_grad():
            values = generator(torch.from_numpy(batch), torch.from_numpy(labels))
        expected = ((values + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()
        images = session.run(["images"], {"latents": batch, "labels": labels})[0].astype(int)
        assert np.abs(images - expected).max() <= levels
        assert (images != expected).mean() <= share
    other = session.run(["images"], {"latents": batch, "labels": (labels + 1) % 3})[0]
    assert (other != images).mean() > 0.1


def test_the_same_weights_give_the_same_bytes_and_one_table_of_labels():
    data = serialise(network("dcgan"), CONTRACT)
    assert data == serialise(network("dcgan"), CONTRACT)
    graph = onnx.load_from_string(data).graph
    assert [node.op_type for node in graph.node[:2]] == ["Gather", "Gemm"]
    tables = [w for w in graph.initializer if w.name.startswith("table")]
    assert [list(table.dims) for table in tables] == [[3, 64 * 16]]


def test_the_check_sees_a_label_that_is_drawn_wrongly(tmp_path: Path):
    generator, path = network("mlp"), tmp_path / "generator.onnx"
    model = onnx.load_from_string(serialise(generator, CONTRACT))
    (table,) = (w for w in model.graph.initializer if w.name.startswith("table"))
    rows = onnx.numpy_helper.to_array(table)
    table.CopyFrom(onnx.numpy_helper.from_array(rows[[1, 0, 2]].copy(), table.name))
    onnx.save(model, path)
    with pytest.raises(ModelFileError, match="the file is not the network"):
        parity.check(generator, path, CONTRACT, 1e-4)


def test_a_network_and_a_contract_that_disagree_about_labels_are_refused():
    without = dataclasses.replace(CONTRACT, label_shares=())
    with pytest.raises(InputError, match="takes"):
        serialise(network("mlp"), without)


def test_labels_that_do_not_enter_a_product_first_are_refused():
    layers = nn.Sequential(nn.Unflatten(1, (3, 2, 2)), nn.Conv2d(3, 1, 2))
    with pytest.raises(InputError, match="its labels must enter a Linear layer"):
        lower(layers, Graph(labels="labels"), start("latents", (9,), 3))


def test_triton_is_told_of_the_labels(tmp_path: Path):
    folder = write_repository(b"model", CONTRACT, tmp_path, "letters")
    config = text_format.Parse((folder / "config.pbtxt").read_text(), definition().ModelConfig())
    latents_, labels = config.input
    assert (labels.name, list(labels.dims), list(labels.reshape.shape)) == ("labels", [1], [])
    assert labels.data_type != latents_.data_type
    assert all(set(warm.inputs) == {"latents", "labels"} for warm in config.model_warmup)

"""What a file from outside may hold is read before any runtime sees it."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from monge.errors import ModelFileError
from monge.operators import ALLOWED, check_operators

X = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
Y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)


def graph(*nodes: onnx.NodeProto, **more: Any) -> onnx.GraphProto:
    weight = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    return helper.make_graph(list(nodes), "g", [X], [Y], [weight], **more)


def data(*nodes: onnx.NodeProto, **more: Any) -> bytes:
    opsets = [helper.make_opsetid("", 13)]
    model = helper.make_model(graph(*nodes, **more), opset_imports=opsets)
    whole: bytes = model.SerializeToString()
    return whole


def test_the_operators_of_a_file_are_counted():
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["a"], alpha=0.5),
        helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("Tanh", ["b"], ["y"]),
    ]
    assert check_operators(data(*nodes)) == {"Gemm": 1, "Tanh": 2}


@pytest.mark.parametrize("name", ["Loop", "If", "Scan", "RandomNormal", "StringConcat", "tanh"])
def test_an_operator_that_no_generator_needs_is_refused(name):
    assert name not in ALLOWED
    with pytest.raises(ModelFileError, match=f"holds the operator '{name}'"):
        check_operators(data(helper.make_node(name, ["x"], ["y"])))


def test_an_allowed_name_of_another_domain_is_refused():
    node = helper.make_node("Tanh", ["x"], ["y"], domain="com.example")
    with pytest.raises(ModelFileError, match=r"com\.example\.Tanh"):
        check_operators(data(node))


def test_a_graph_within_an_attribute_is_refused():
    node = helper.make_node("Tanh", ["x"], ["y"])
    inner = graph(helper.make_node("Loop", ["x"], ["y"]))
    node.attribute.append(helper.make_attribute("body", inner))
    with pytest.raises(ModelFileError, match="graph within"):
        check_operators(data(node))
    node.attribute[0].CopyFrom(helper.make_attribute("bodies", [inner]))
    with pytest.raises(ModelFileError, match="graph within"):
        check_operators(data(node))


@pytest.mark.parametrize("where", ["initializer", "attribute"])
def test_weights_in_another_file_are_refused(where):
    tensor = numpy_helper.from_array(np.ones(4, np.float32), "t")
    onnx.external_data_helper.set_external_data(tensor, "/etc/passwd")
    node = helper.make_node("Tanh", ["x"], ["y"])
    model = onnx.load_from_string(data(node))
    if where == "initializer":
        model.graph.initializer.append(tensor)
    else:
        model.graph.node[0].attribute.append(helper.make_attribute("value", tensor))
    with pytest.raises(ModelFileError, match="in another file"):
        check_operators(model.SerializeToString())


def test_functions_and_sparse_weights_are_refused():
    node = helper.make_node("Tanh", ["x"], ["y"])
    model = onnx.load_from_string(data(node))
    opsets = [helper.make_opsetid("", 13)]
    model.functions.append(helper.make_function("f", "Tanh", ["x"], ["y"], [node], opsets))
    with pytest.raises(ModelFileError, match="functions of its own"):
        check_operators(model.SerializeToString())
    sparse = onnx.SparseTensorProto()
    sparse.dims.append(4)
    with pytest.raises(ModelFileError, match="sparse"):
        check_operators(data(node, sparse_initializer=[sparse]))


def test_a_second_graph_that_a_parser_would_merge_is_refused():
    whole = data(helper.make_node("Tanh", ["x"], ["y"]))
    with pytest.raises(ModelFileError, match="no graph"):
        check_operators(whole + whole)
    with pytest.raises(ModelFileError, match="no graph"):
        check_operators(b"")


@pytest.mark.parametrize(
    "noise",
    [b"\xff" * 11, b"\x3a\xff\xff\xff\xff\x0f", b"\x0b", b"\x38\x07", b"\x07", b"\x00\x00"],
)  # fmt: skip
def test_bytes_that_are_no_messages_are_refused(noise):
    with pytest.raises(ModelFileError, match="not an ONNX file"):
        check_operators(noise)


def test_whatever_is_changed_it_ends_in_an_answer_or_a_refusal():
    whole = data(helper.make_node("Gemm", ["x", "w"], ["y"], alpha=0.5))
    dice = random.Random(0)
    for _ in range(3000):
        changed = bytearray(whole[: dice.randint(0, len(whole))] if dice.random() < 0.3 else whole)
        for _ in range(dice.randint(0, 4)):
            if changed:
                changed[dice.randrange(len(changed))] = dice.randrange(256)
        with contextlib.suppress(ModelFileError):
            assert set(check_operators(bytes(changed))) <= ALLOWED

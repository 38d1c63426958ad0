"""Small real ONNX files to register."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper


@pytest.fixture
def generator(tmp_path: Path) -> Callable[[float], Path]:
    """Writes a generator of 2×2 images [n, 2, 2, 3] whose weights are all one number."""

    def write(weight: float) -> Path:
        tensors = [
            numpy_helper.from_array(np.full((4, 12), weight, np.float32), "weights"),
            numpy_helper.from_array(np.array([-1, 2, 2, 3]), "shape"),
        ]
        nodes = [
            helper.make_node("MatMul", ["latents", "weights"], ["flat"]),
            helper.make_node("Reshape", ["flat", "shape"], ["square"]),
            helper.make_node("Cast", ["square"], ["images"], to=TensorProto.UINT8),
        ]
        latents = helper.make_tensor_value_info("latents", TensorProto.FLOAT, ["n", 4])
        images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 2, 2, 3])
        graph = helper.make_graph(nodes, "generator", [latents], [images], tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        path = tmp_path / f"generator-{weight}.onnx"
        # A field that a new serialisation would put elsewhere: only the file's own bytes keep it.
        path.write_bytes(
            model.SerializeToString() + onnx.ModelProto(domain="ours").SerializeToString()
        )
        return path

    return write

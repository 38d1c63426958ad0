"""Generator files that another tool has changed: refused in a line, by every command."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from monge.errors import ModelFileError
from monge.serving.sampler import Sampler


def _fix(tensors) -> None:
    for tensor in tensors:
        side = tensor.type.tensor_type.shape.dim[0]
        side.ClearField("dim_param")
        side.dim_value = 4


def _append(model, operator: str, **constants: list[int]) -> None:
    """Put an operator behind what draws the images."""
    (output,) = model.graph.output
    for node in model.graph.node:
        node.output[:] = ["drawn" if name == output.name else name for name in node.output]
    for name, values in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
    model.graph.node.append(helper.make_node(operator, ["drawn", *constants], [output.name]))


CHANGES = {
    "its batch": (lambda m: _fix([*m.graph.input, *m.graph.output]), "latents come 4 at a time"),
    "its output": (lambda m: _fix(m.graph.output), "images come 4 at a time"),
    "a reshape": (lambda m: _append(m, "Reshape", shape=[4, 16, 16, 3]), "come 4 at a time"),
    "one image": (
        lambda m: _append(m, "Slice", starts=[0], ends=[1], axes=[0]),
        "does not draw 5 images at a time: 1 came",
    ),
    "its opset": (
        lambda m: setattr(m.opset_import[0], "version", 99),
        "newer ONNX Runtime than .* Current official support for domain ai.onnx is till opset",
    ),
    "its IR": (
        lambda m: setattr(m, "ir_version", 99),
        r"Unsupported model IR version: 99, max supported IR version: \d+$",
    ),
}


def changed(model, tmp_path, change) -> str:
    proto = onnx.load(str(model))
    CHANGES[change][0](proto)
    for entry in [e for e in proto.metadata_props if e.key == "monge.weights_crc32"]:
        proto.metadata_props.remove(entry)  # or they would be refused for that
    place = tmp_path / "changed.onnx"
    onnx.save(proto, str(place))
    return str(place)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_file_says_what_is_wrong_with_it(model, tmp_path, change):
    with pytest.raises(ModelFileError, match=CHANGES[change][1]) as raised:
        Sampler.load(changed(model, tmp_path, change), "cpu").sample(5)
    assert "/onnxruntime_src/" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_service_whose_model_does_not_draw_ends_and_says_why(model, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "monge", "serve", changed(model, tmp_path, "one image"),
         "--port", "0"],
        capture_output=True, text=True, timeout=120, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert "images at a time: 1 came" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr

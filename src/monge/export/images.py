"""The end of the graph: values in [-1, 1] become bytes, channels last, in as few steps as possible.

(tanh x + 1) / 2 = sigmoid(2x): after a last layer of twice the weights a sigmoid gives what
QuantizeLinear makes bytes of in one step, rounding half to even and saturating. The outputs of a
last linear layer are put in the order of the image, so that nothing needs to move.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from onnx import TensorProto
from torch import nn

from monge.export.graph import Form, Graph, Value

OUTPUT = "images"
VALUES = "values"
"""The tensor that becomes bytes: in [0, 1], [n, C, H, W] or, where nothing moves, [n, H W C]."""

# The float32 just below 1/255, which is as near to it as the one just above. With this one 0, in
# the middle between 127 and 128, becomes the even one, as it does by the definition.
STEP = np.nextafter(np.float32(1 / 255), np.float32(0))

_LAST = (nn.Linear, nn.ConvTranspose2d, nn.Conv2d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_SHAPES = (nn.Unflatten, nn.Flatten)


@dataclass(frozen=True)
class Body:
    """A generator's layers without what the bytes take in.

    `logistic`: the values are those of a sigmoid after these layers, which is not among them; else
    they are in [-1, 1]. `in_order`: they are rows [n, H W C] in the order of the image.
    """

    layers: list[nn.Module]
    logistic: bool = False
    in_order: bool = False


def body(layers: list[nn.Module], image_shape: tuple[int, int, int]) -> Body:
    """Take a last tanh away and double the layer before it: twice a float is a float, exactly.

    A net that ends in something else is left as it is. `image_shape` is (H, W, C).
    """
    rest = list(layers)
    shapes = _pop(rest, _SHAPES)
    if not rest or type(rest.pop()) is not nn.Tanh:
        return Body(layers)
    shapes = _pop(rest, _SHAPES) + shapes
    norms = _pop(rest, _NORMS)
    if len(norms) > 1 or not rest or type(rest[-1]) not in _LAST:
        return Body(layers)
    last = copy.deepcopy([rest.pop(), *norms])
    in_order = type(last[0]) is nn.Linear and _unflattens(shapes, image_shape)
    with torch.no_grad():
        _double(last[-1])
        if in_order:
            for layer in last:
                _reorder(layer, image_shape)
    return Body([*rest, *last, *([] if in_order else shapes)], True, in_order)


def to_bytes(graph: Graph, value: Value, logistic: bool, image_shape: tuple[int, int, int]) -> None:
    """Append what makes the images, uint8 [n, H, W, C], of the values of a Body's layers."""
    if graph.form.variant == "float16":
        value = graph.add("Cast", value, to=TensorProto.FLOAT)  # it has no room for 256 levels
        graph.form = Form()
    if logistic:
        value = graph.add("Sigmoid", value, output=VALUES)
    else:
        half = graph.weight("half", np.array(0.5))
        value = graph.add("Add", graph.add("Mul", value, half), half, output=VALUES)
    step, zero = graph.weight("step", np.array(STEP)), graph.weight("zero", np.array(0, np.uint8))
    value = graph.add("QuantizeLinear", value, step, zero)
    if image_shape[2] == 1 or len(value.shape) == 1:  # nothing moves
        graph.add("Reshape", value, graph.whole([0, *image_shape]), output=OUTPUT)
    else:
        graph.add("Transpose", value, output=OUTPUT, perm=[0, 2, 3, 1])


def _pop(layers: list[nn.Module], kinds: tuple[type, ...]) -> list[nn.Module]:
    """Take the layers of these kinds from the end."""
    taken: list[nn.Module] = []
    while layers and type(layers[-1]) in kinds:
        taken.insert(0, layers.pop())
    return taken


def _unflattens(shapes: list[nn.Module], image_shape: tuple[int, int, int]) -> bool:
    """Tell whether the layers do nothing but make [n, C, H, W] of rows."""
    height, width, channels = image_shape
    return [
        (layer.dim, tuple(layer.unflattened_size))
        for layer in shapes if isinstance(layer, nn.Unflatten)
    ] == [(1, (channels, height, width))] * max(1, len(shapes))  # fmt: skip


def _double(layer: nn.Module) -> None:
    """Let a layer give twice its values; a batch norm may have no factors yet."""
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and not layer.affine:
        layer.weight = nn.Parameter(torch.ones(layer.num_features))
    for parameter in layer.parameters(recurse=False):
        parameter.mul_(2.0)


def _reorder(layer: nn.Module, image_shape: tuple[int, int, int]) -> None:
    """Put outputs that are in the order C, H, W into that of H, W, C."""
    height, width, channels = image_shape
    order = torch.arange(height * width * channels).reshape(channels, height, width)
    order = order.permute(1, 2, 0).flatten()
    for tensor in (*layer.parameters(recurse=False), *layer.buffers(recurse=False)):
        if tensor.dim():  # a norm counts its batches in a number
            tensor.copy_(tensor[order.to(tensor.device)].clone())

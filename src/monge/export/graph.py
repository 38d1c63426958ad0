"""The ONNX graph as it grows: nodes and weights so far, and values that can be taken up again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from monge.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Form:
    """The form in which the file keeps its weights, and what it is fast at.

    `float16` computes in it, too: for GPUs. `int8` keeps the weights in eight bits, with one scale
    for each output, and computes in float32. `throughput` gives the layers that gain by it a form
    that is faster for batches, and slower for one image.
    """

    variant: Literal["float32", "float16", "int8"] = "float32"
    optimize_for: Literal["latency", "throughput"] = "latency"

    @property
    def dtype(self) -> type[np.floating[Any]]:
        """Name the type that the graph computes in."""
        return np.float16 if self.variant == "float16" else np.float32


@dataclass(frozen=True)
class Value:
    """A tensor of the graph. Shapes are those of one sample, without the batch dimension.

    `shape` is what the layers believe; `stored` is how the tensor `name` really lies. They differ
    after an Unflatten or Flatten until something asks for the other form. A map may also lie with
    its channels last. `classes`: a one-hot vector of the labels is believed to follow, unwritten.
    """

    name: str
    shape: tuple[int, ...]
    stored: tuple[int, ...]
    channels_last: bool = False
    classes: int = 0

    def believed(self, shape: tuple[int, ...]) -> Value:
        """The same tensor, which is to be taken as of this shape from here on."""
        return replace(self, shape=shape)


class Graph:
    """Nodes and weights so far, in order; it knows its values by name alone."""

    def __init__(self, form: Form | None = None, labels: str = "") -> None:
        self.form = form or Form()
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.labels = labels

    def node(
        self, operator: str, *inputs: str, output: str | None = None, **attributes: Any
    ) -> str:
        """Append a node; the name of what it gives."""
        output = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def add(
        self,
        operator: str,
        value: Value,
        *inputs: str,
        output: str | None = None,
        **attributes: Any,
    ) -> Value:
        """Append a node that takes a value (and more inputs) and gives one that lies like it."""
        name = self.node(operator, value.name, *inputs, output=output, **attributes)
        return replace(value, name=name)

    def reshape(self, name: str, shape: list[int]) -> str:
        """Let a tensor lie in another shape, given whole."""
        return self.node("Reshape", name, self.whole(shape))

    def weight(self, name: str, array: NDArray[Any]) -> str:
        """Store a constant, float64 as what the graph computes in; its name in the graph."""
        name = f"{name}_{len(self.weights)}"
        if array.dtype == np.float64:
            array = array.astype(self.form.dtype)
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def whole(self, numbers: list[int]) -> str:
        """Store whole numbers: shapes, axes, places."""
        return self.weight("whole", np.array(numbers, np.int64))

    def kernel(self, array: Array, axis: int) -> str:
        """Store a layer's weights, whose outputs lie along `axis`, in the form asked for."""
        if self.form.variant != "int8":
            return self.weight("weight", array)
        others = tuple(i for i in range(array.ndim) if i != axis)
        scale = np.maximum(np.abs(array).max(axis=others, keepdims=True), 1e-30) / 127.0
        stored = self.weight("weight", np.rint(array / scale).astype(np.int8))
        values = self.node("Cast", stored, to=onnx.TensorProto.FLOAT)
        return self.node("Mul", values, self.weight("scale", scale))

    def rows(self, table: Array) -> str:
        """Append each label's row of a table; the name of the rows [n, out]."""
        return self.node("Gather", self.weight("table", table), self.labels, axis=0)

    def lying(self, value: Value, shape: tuple[int, ...]) -> Value:
        """See to it that a value lies as [n, *shape]."""
        if value.classes:
            raise InputError(
                "export cannot write this generator: its labels must enter a Linear layer, or a "
                "transposed convolution of a 1x1 map, before anything else."
            )
        if value.channels_last:
            value = self.add("Transpose", value, perm=[0, 3, 1, 2])
            value = replace(value, channels_last=False)
        if value.stored != shape:
            value = replace(value, name=self.reshape(value.name, [0, *shape]), stored=shape)
        return value

    def channels_last(self, value: Value) -> Value:
        """See to it that a map lies as [n, H, W, C]."""
        if value.channels_last and value.stored == value.shape:
            return value
        value = self.add("Transpose", self.lying(value, value.shape), perm=[0, 2, 3, 1])
        return replace(value, channels_last=True)


def start(name: str, shape: tuple[int, ...], classes: int = 0) -> Value:
    """An input of the graph, with room for a one-hot vector of labels behind it."""
    return Value(name, (shape[0] + classes, *shape[1:]), shape, classes=classes)


def made(name: str, shape: tuple[int, ...], *, channels_last: bool = False) -> Value:
    """Describe a node's output, of a shape that is known."""
    return Value(name, shape, shape, channels_last)

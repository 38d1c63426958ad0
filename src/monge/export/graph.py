"""The ONNX graph as it grows: nodes and weights so far, and how the last value lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from monge.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Form:
    """How the file keeps its weights, and what it is fast at.

    `float16` computes in it, too: for GPUs. `int8` keeps the weights in eight bits, with one scale
    for each output, and computes in float32. `throughput` gives the layers that gain by it a form
    that is faster for batches, and slower for one image.
    """

    variant: Literal["float32", "float16", "int8"] = "float32"
    optimize_for: Literal["latency", "throughput"] = "latency"

    @property
    def dtype(self) -> type[np.floating[Any]]:
        """What the graph computes in."""
        return np.float16 if self.variant == "float16" else np.float32


class Graph:
    """Nodes and weights so far. Shapes are those of one sample, without the batch dimension.

    `shape` is what the layers believe; `stored` is how the tensor `value` really lies. They differ
    after an Unflatten or Flatten until something asks for the other form. A map may also lie with
    its channels last.
    """

    def __init__(self, value: str, shape: tuple[int, ...], form: Form | None = None) -> None:
        self.form = form or Form()
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.value = value
        self.shape = self.stored = shape
        self._channels_last = False
        self._labels, self._classes = "", 0

    def expect_labels(self, name: str, classes: int) -> None:
        """Believe that a one-hot vector of the labels in `name` follows the values, unwritten."""
        self._labels, self._classes = name, classes
        self.shape = (self.shape[0] + classes,)

    def first_product(self, weight: Array, bias: Array) -> tuple[Array, Array | None]:
        """Cut a matrix [z + classes, out] into that of the values and the table of the labels.

        What a one-hot vector picks of a matrix is a row: the table holds it, with the bias.
        """
        classes, self._classes = self._classes, 0
        if not classes:
            return weight, None
        return weight[:-classes], weight[-classes:] + bias

    def rows(self, table: Array) -> str:
        """Append each label's row of a table; the name of the rows [n, out]."""
        before, self.value = self.value, self.weight("table", table)
        self.add("Gather", self._labels, axis=0)
        rows, self.value = self.value, before
        return rows

    def add(
        self, operator: str, *inputs: str, output: str | None = None, **attributes: Any
    ) -> None:
        """Append a node that takes the current value (and more inputs) to the next value."""
        self._append(operator, [self.value, *inputs], output, attributes)

    def left_product(self, factor: str) -> None:
        """Append the matrix product factor × current value."""
        self._append("MatMul", [factor, self.value], None, {})

    def reshape(self, shape: list[int]) -> None:
        """Let the tensor lie in another shape, given whole."""
        self.add("Reshape", self.whole(shape))

    def _append(
        self, operator: str, inputs: list[str], output: str | None, attributes: dict[str, Any]
    ) -> None:
        output = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        self.value = output

    def weight(self, name: str, array: NDArray[Any]) -> str:
        """Store a constant, real numbers in what the graph computes in; its name in the graph."""
        name = f"{name}_{len(self.weights)}"
        if array.dtype.kind == "f":
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
        before = self.value
        self.value = self.weight("weight", np.rint(array / scale).astype(np.int8))
        self.add("Cast", to=onnx.TensorProto.FLOAT)
        self.add("Mul", self.weight("scale", scale))
        stored, self.value = self.value, before
        return stored

    def need(self, shape: tuple[int, ...]) -> None:
        """See to it that the current value lies as [n, *shape]."""
        if self._classes:
            raise InputError(
                "export cannot write this generator: its labels must enter a Linear layer, or a "
                "transposed convolution of a 1x1 map, before anything else."
            )
        if self._channels_last:
            self.add("Transpose", perm=[0, 3, 1, 2])
            self._channels_last = False
        if self.stored != shape:
            self.reshape([0, *shape])
            self.stored = shape

    def channels_last(self) -> None:
        """See to it that the current map lies as [n, H, W, C]."""
        if self._channels_last and self.stored == self.shape:
            return
        self.need(self.shape)
        self.add("Transpose", perm=[0, 2, 3, 1])
        self._channels_last = True

    def now(self, shape: tuple[int, ...], *, channels_last: bool = False) -> None:
        """Note the shape that the last node gave."""
        self.shape = self.stored = shape
        self._channels_last = channels_last

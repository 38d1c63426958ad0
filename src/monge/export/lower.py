"""Rewrite a generator for inference: its layers, in order, as the nodes of an ONNX graph.

Batch norm (evaluation mode) is folded in float64 into the layer before it; a transposed convolution
of a 1x1 map is one matrix product; one of kernel 4 and stride 2 may take Winograd's form; reshapes
are put off until a layer needs one. What is not known here is refused by name, never approximated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import nn

from monge.errors import InputError
from monge.export import winograd
from monge.nets.dcgan import Upsample

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


def lower(generator: nn.Module, graph: Graph) -> None:
    """Append the generator's layers to a graph. Raises InputError naming what is not known."""
    layers = layers_of(generator)
    while layers:
        layer = layers.pop(0)
        if type(layer) in _AFFINE:
            norm = layers.pop(0) if layers and type(layers[0]) in _NORMS else None
            _AFFINE[type(layer)](graph, layer, norm)
        elif type(layer) in _OTHERS:
            _OTHERS[type(layer)](graph, layer)
        else:
            known = sorted(kind.__name__ for kind in {*_AFFINE, *_OTHERS, *_NOTHING})
            raise InputError(
                f"export cannot write the layer {type(layer).__name__}: it knows "
                f"{', '.join(known)}. Add it to export/lower.py."
            )
    graph.need(graph.shape)


def layers_of(generator: nn.Module) -> list[nn.Module]:
    """Find the layers that a generator applies, in order, without those that do nothing."""
    return [layer for layer in _flat(_outer(generator)) if type(layer) not in _NOTHING]


def _outer(generator: nn.Module) -> Iterable[nn.Module]:
    if isinstance(generator, nn.Sequential):
        return generator
    net = getattr(generator, "net", None)
    if isinstance(net, nn.Sequential):
        return net
    raise InputError(
        f"export cannot see the layers of {type(generator).__name__}: "
        "a generator keeps them in order in an nn.Sequential named `net`."
    )


def _flat(layers: Iterable[nn.Module]) -> Iterator[nn.Module]:
    for layer in layers:
        if type(layer) is nn.Sequential:
            yield from _flat(layer)
        else:
            yield layer


def _linear(graph: Graph, layer: Any, norm: Any) -> None:
    if graph.shape != (layer.in_features,):
        _refuse(layer, f"takes [{layer.in_features}], is given {list(graph.shape)}")
    scale, shift = _scale_shift(norm, layer.out_features)
    weight = _array(layer.weight) * scale[:, None]
    _gemm(graph, weight.T, _bias(layer, scale, shift), (layer.out_features,))


def _transposed(graph: Graph, layer: Any, norm: Any) -> None:
    _check_convolution(graph, layer)
    scale, shift = _scale_shift(norm, layer.out_channels)
    weight = _array(layer.weight) * scale[:, None, None]  # [in, out, kh, kw]
    bias = _bias(layer, scale, shift)
    (top, left), (more_y, more_x) = layer.padding, layer.output_padding
    if graph.shape[1:] == (1, 1) and layer.dilation == (1, 1) and (more_y, more_x) == (0, 0):
        # Each output pixel sees one input pixel through one tap: the kernel, less the padding.
        height, width = layer.kernel_size
        seen = weight[:, :, top : height - top, left : width - left]
        shape = (layer.out_channels, *seen.shape[2:])
        per_value = np.repeat(bias, math.prod(shape[1:]))
        _gemm(graph, seen.reshape(len(seen), -1), per_value, shape)
        return
    m = 0
    if graph.form.optimize_for == "throughput" and winograd.fits(layer):
        m = winograd.plan(layer.in_channels, layer.out_channels, *graph.shape[1:])
    if m:
        winograd.append(graph, weight, bias, m)
        return
    size = [
        (graph.shape[1 + i] - 1) * layer.stride[i] - 2 * layer.padding[i]
        + layer.dilation[i] * (layer.kernel_size[i] - 1) + layer.output_padding[i] + 1
        for i in (0, 1)
    ]  # fmt: skip
    attributes = {"output_padding": list(layer.output_padding)} if more_y or more_x else {}
    _convolve(graph, "ConvTranspose", layer, graph.kernel(weight, 1), bias, size, **attributes)


def _convolution(graph: Graph, layer: Any, norm: Any) -> None:
    _check_convolution(graph, layer)
    scale, shift = _scale_shift(norm, layer.out_channels)
    weight = _array(layer.weight) * scale[:, None, None, None]  # [out, in, kh, kw]
    size = [
        (graph.shape[1 + i] + 2 * layer.padding[i] - layer.dilation[i] * (layer.kernel_size[i] - 1)
         - 1) // layer.stride[i] + 1
        for i in (0, 1)
    ]  # fmt: skip
    _convolve(graph, "Conv", layer, graph.kernel(weight, 0), _bias(layer, scale, shift), size)


def _convolve(
    graph: Graph,
    operator: str,
    layer: Any,
    weight: str,
    bias: Array,
    size: list[int],
    **attributes: Any,
) -> None:
    graph.need(graph.shape)
    graph.add(
        operator,
        weight,
        graph.weight("bias", bias),
        kernel_shape=list(layer.kernel_size),
        strides=list(layer.stride),
        pads=[*layer.padding, *layer.padding],
        dilations=list(layer.dilation),
        **attributes,
    )
    graph.now((layer.out_channels, *size))


def _gemm(graph: Graph, weight: Array, bias: Array, shape: tuple[int, ...]) -> None:
    """[n, in] × weight [in, out] + bias, believed to be [n, *shape] from then on."""
    weight, table = graph.first_product(weight, bias)
    graph.need((len(weight),))
    kernel = graph.kernel(weight, 1)
    graph.add("Gemm", kernel, graph.weight("bias", bias) if table is None else graph.rows(table))
    graph.now((weight.shape[1],))
    graph.shape = shape


def _lone_norm(graph: Graph, layer: Any) -> None:
    """Batch norm with no layer before it to be folded into: one scale and shift."""
    scale, shift = _scale_shift(layer, graph.shape[0])
    graph.need(graph.shape)
    broadcast = (-1, *(1 for _ in graph.shape[1:]))
    graph.add("Mul", graph.weight("scale", scale.reshape(broadcast)))
    graph.add("Add", graph.weight("shift", shift.reshape(broadcast)))


def _unflatten(graph: Graph, layer: Any) -> None:
    sizes = tuple(int(size) for size in layer.unflattened_size)
    if layer.dim != 1 or -1 in sizes or math.prod(sizes) != graph.shape[0]:
        _refuse(layer, f"must split dimension 1 into known sizes, is given {list(graph.shape)}")
    graph.shape = (*sizes, *graph.shape[1:])


def _flatten(graph: Graph, layer: Any) -> None:
    if (layer.start_dim, layer.end_dim) != (1, -1):
        _refuse(layer, "must flatten dimensions 1 to -1")
    graph.shape = (math.prod(graph.shape),)


def _scale_shift(norm: Any, channels: int) -> tuple[Array, Array]:
    """Batch norm in evaluation mode as scale · x + shift, float64 [channels] (1 and 0 without)."""
    if norm is None:
        return np.ones(channels), np.zeros(channels)
    if norm.num_features != channels:
        _refuse(norm, f"takes {norm.num_features} channels, is given {channels}")
    if norm.running_mean is None:
        _refuse(norm, "has no running statistics: an image would depend on its batch")
    scale = 1.0 / np.sqrt(_array(norm.running_var) + norm.eps)
    if norm.weight is not None:
        scale = scale * _array(norm.weight)
    shift = -_array(norm.running_mean) * scale
    return scale, shift if norm.bias is None else shift + _array(norm.bias)


def _bias(layer: Any, scale: Array, shift: Array) -> Array:
    return shift if layer.bias is None else _array(layer.bias) * scale + shift


def _array(tensor: Any) -> Array:
    return np.asarray(tensor.detach().cpu().double().numpy())


def _check_convolution(graph: Graph, layer: Any) -> None:
    if layer.groups != 1 or layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        _refuse(layer, "must have one group and a number of zeros as padding")
    if len(graph.shape) != 3 or graph.shape[0] != layer.in_channels:
        _refuse(layer, f"takes {layer.in_channels} channels, is given {list(graph.shape)}")


def _refuse(layer: nn.Module, problem: str) -> NoReturn:
    raise InputError(f"export cannot write this {type(layer).__name__}: it {problem}.")


_AFFINE: dict[type, Callable[[Graph, Any, Any], None]] = {
    nn.Linear: _linear,
    nn.ConvTranspose2d: _transposed,
    Upsample: _transposed,
    nn.Conv2d: _convolution,
}
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_OTHERS: dict[type, Callable[[Graph, Any], None]] = {
    nn.BatchNorm1d: _lone_norm,
    nn.BatchNorm2d: _lone_norm,
    nn.ReLU: lambda graph, _: graph.add("Relu"),
    nn.LeakyReLU: lambda graph, layer: graph.add("LeakyRelu", alpha=layer.negative_slope),
    nn.Tanh: lambda graph, _: graph.add("Tanh"),
    nn.Sigmoid: lambda graph, _: graph.add("Sigmoid"),
    nn.Unflatten: _unflatten,
    nn.Flatten: _flatten,
}
_NOTHING = (nn.Identity, nn.Dropout)

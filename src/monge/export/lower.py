"""Rewrite a generator for inference: its layers, in order, as the nodes of an ONNX graph.

Batch norm (evaluation mode) is folded in float64 into the layer before it; a transposed convolution
of a 1x1 map is one matrix product; one of kernel 4 and stride 2 may take Winograd's form; reshapes
are put off until a layer needs one. What is not known here is refused by name, never approximated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
from torch import nn

from monge.errors import InputError
from monge.export import residual, winograd
from monge.export.graph import Array, Graph, Value, made
from monge.nets.dcgan import Upsample
from monge.nets.residual import ConditionalBatchNorm2d, DownBlock, UpBlock
from monge.nets.resnet import MeanOverPixels


def lower(generator: nn.Module, graph: Graph, value: Value) -> Value:
    """Append the generator's layers to a graph, from a value on; what they give.

    Raises InputError naming what is not known.
    """
    layers = layers_of(generator)
    while layers:
        layer = layers.pop(0)
        if type(layer) in _AFFINE:
            norm = layers.pop(0) if layers and type(layers[0]) in _NORMS else None
            value = _AFFINE[type(layer)](graph, value, layer, norm)
        elif type(layer) in _OTHERS:
            value = _OTHERS[type(layer)](graph, value, layer)
        else:
            known = sorted(kind.__name__ for kind in {*_AFFINE, *_OTHERS, *_NOTHING})
            raise InputError(
                f"export cannot write the layer {type(layer).__name__}: it knows "
                f"{', '.join(known)}. Add it to export/lower.py."
            )
    return graph.lying(value, value.shape)


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


def _linear(graph: Graph, value: Value, layer: Any, norm: Any) -> Value:
    if value.classes and value.stored == (layer.in_features,):  # labels come in later
        value = replace(value, shape=value.stored, classes=0)
    if value.shape != (layer.in_features,):
        _refuse(layer, f"takes [{layer.in_features}], is given {list(value.shape)}")
    scale, shift = _scale_shift(norm, layer.out_features)
    weight = _array(layer.weight) * scale[:, None]
    return _gemm(graph, value, weight.T, _bias(layer, scale, shift), (layer.out_features,))


def _transposed(graph: Graph, value: Value, layer: Any, norm: Any) -> Value:
    _check_convolution(value, layer)
    scale, shift = _scale_shift(norm, layer.out_channels)
    weight = _array(layer.weight) * scale[:, None, None]  # [in, out, kh, kw]
    bias = _bias(layer, scale, shift)
    (top, left), (more_y, more_x) = layer.padding, layer.output_padding
    if value.shape[1:] == (1, 1) and layer.dilation == (1, 1) and (more_y, more_x) == (0, 0):
        # Each output pixel sees one input pixel through one tap: the kernel, less the padding.
        height, width = layer.kernel_size
        seen = weight[:, :, top : height - top, left : width - left]
        shape = (layer.out_channels, *seen.shape[2:])
        per_value = np.repeat(bias, math.prod(shape[1:]))
        return _gemm(graph, value, seen.reshape(len(seen), -1), per_value, shape)
    m = 0
    if graph.form.optimize_for == "throughput" and winograd.fits(layer):
        m = winograd.plan(layer.in_channels, layer.out_channels, *value.shape[1:])
    if m:
        return winograd.append(graph, value, weight, bias, m)
    size = [
        (value.shape[1 + i] - 1) * layer.stride[i] - 2 * layer.padding[i]
        + layer.dilation[i] * (layer.kernel_size[i] - 1) + layer.output_padding[i] + 1
        for i in (0, 1)
    ]  # fmt: skip
    attributes = {"output_padding": list(layer.output_padding)} if more_y or more_x else {}
    kernel = graph.kernel(weight, 1)
    return _convolve(graph, value, "ConvTranspose", layer, kernel, bias, size, **attributes)


def _convolution(graph: Graph, value: Value, layer: Any, norm: Any) -> Value:
    _check_convolution(value, layer)
    scale, shift = _scale_shift(norm, layer.out_channels)
    weight = _array(layer.weight) * scale[:, None, None, None]  # [out, in, kh, kw]
    size = [
        (value.shape[1 + i] + 2 * layer.padding[i] - layer.dilation[i] * (layer.kernel_size[i] - 1)
         - 1) // layer.stride[i] + 1
        for i in (0, 1)
    ]  # fmt: skip
    kernel, bias = graph.kernel(weight, 0), _bias(layer, scale, shift)
    return _convolve(graph, value, "Conv", layer, kernel, bias, size)


def _convolve(
    graph: Graph,
    value: Value,
    operator: str,
    layer: Any,
    weight: str,
    bias: Array,
    size: list[int],
    **attributes: Any,
) -> Value:
    name = graph.node(
        operator,
        graph.lying(value, value.shape).name,
        weight,
        graph.weight("bias", bias),
        kernel_shape=list(layer.kernel_size),
        strides=list(layer.stride),
        pads=[*layer.padding, *layer.padding],
        dilations=list(layer.dilation),
        **attributes,
    )
    return made(name, (layer.out_channels, *size))


def _gemm(graph: Graph, value: Value, weight: Array, bias: Array, shape: tuple[int, ...]) -> Value:
    """[n, in] × weight [in, out] + bias, believed to be [n, *shape] from then on.

    Where a one-hot vector of labels follows the input, what it picks of the matrix is a row: a
    table holds these, with the bias.
    """
    classes, table = value.classes, None
    if classes:
        weight, table = weight[:-classes], weight[-classes:] + bias
    value = graph.lying(replace(value, classes=0), (len(weight),))
    kernel = graph.kernel(weight, 1)
    added = graph.weight("bias", bias) if table is None else graph.rows(table)
    name = graph.node("Gemm", value.name, kernel, added)
    return made(name, (weight.shape[1],)).believed(shape)


def _lone_norm(graph: Graph, value: Value, layer: Any) -> Value:
    """Batch norm with no layer before it to be folded into: one scale and shift."""
    scale, shift = _scale_shift(layer, value.shape[0])
    value = graph.lying(value, value.shape)
    broadcast = (-1, *(1 for _ in value.shape[1:]))
    value = graph.add("Mul", value, graph.weight("scale", scale.reshape(broadcast)))
    return graph.add("Add", value, graph.weight("shift", shift.reshape(broadcast)))


def _conditional_norm(graph: Graph, value: Value, layer: Any) -> Value:
    """Batch norm with a scale and an offset of each label: a row of two tables."""
    scale, shift = _scale_shift(layer.norm, value.shape[0])
    of_labels = _array(layer.scale)
    value = graph.lying(value, value.shape)
    broadcast = [0, value.shape[0], *(1 for _ in value.shape[1:])]
    scales = graph.reshape(graph.rows(of_labels * scale), broadcast)
    shifts = graph.reshape(graph.rows(of_labels * shift + _array(layer.offset)), broadcast)
    return graph.add("Add", graph.add("Mul", value, scales), shifts)


def _layer_norm(graph: Graph, value: Value, layer: Any) -> Value:
    """A norm over all channels and pixels of an image: of one instance that is as long."""
    if layer.num_groups != 1:
        _refuse(layer, "must have one group")
    size = math.prod(value.shape)
    rows = graph.reshape(graph.lying(value, value.shape).name, [0, 1, size])
    one, none = graph.weight("one", np.ones(1)), graph.weight("none", np.zeros(1))
    normed = graph.node("InstanceNormalization", rows, one, none, epsilon=layer.eps)
    value = made(graph.reshape(normed, [0, *value.shape]), value.shape)
    broadcast = (-1, *(1 for _ in value.shape[1:]))
    scale, shift = (_array(tensor).reshape(broadcast) for tensor in (layer.weight, layer.bias))
    value = graph.add("Mul", value, graph.weight("scale", scale))
    return graph.add("Add", value, graph.weight("shift", shift))


def _mean_over_pixels(graph: Graph, value: Value, layer: Any) -> Value:
    channels, pixels = value.shape[0], math.prod(value.shape[1:])
    rows = graph.reshape(graph.lying(value, value.shape).name, [0, channels, pixels])
    mean = graph.node("MatMul", rows, graph.weight("mean", np.full((pixels, 1), 1.0 / pixels)))
    return made(mean, (channels, 1)).believed((channels,))


def _doubled(graph: Graph, value: Value, layer: Any) -> Value:
    """Each pixel four times."""
    value = graph.lying(value, value.shape)
    channels, height, width = value.shape
    scales = graph.weight("scales", np.array([1, 1, 2, 2], np.float32))
    how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    name = graph.node("Resize", value.name, "", scales, mode="nearest", **how)
    return made(name, (channels, 2 * height, 2 * width))


def _residual(graph: Graph, value: Value, layer: Any) -> Value:
    """Both ways from one value, and their sum."""
    plain = graph.form.optimize_for == "latency"
    ways = residual.ways(layer, plain=plain)
    through, beside = (lower(nn.Sequential(*way), graph, value) for way in ways)
    return made(graph.node("Add", through.name, beside.name), through.shape)


def _unflatten(graph: Graph, value: Value, layer: Any) -> Value:
    sizes = tuple(int(size) for size in layer.unflattened_size)
    if layer.dim != 1 or -1 in sizes or math.prod(sizes) != value.shape[0]:
        _refuse(layer, f"must split dimension 1 into known sizes, is given {list(value.shape)}")
    return value.believed((*sizes, *value.shape[1:]))


def _flatten(graph: Graph, value: Value, layer: Any) -> Value:
    if (layer.start_dim, layer.end_dim) != (1, -1):
        _refuse(layer, "must flatten dimensions 1 to -1")
    return value.believed((math.prod(value.shape),))


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


def _check_convolution(value: Value, layer: Any) -> None:
    if layer.groups != 1 or layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        _refuse(layer, "must have one group and a number of zeros as padding")
    if len(value.shape) != 3 or value.shape[0] != layer.in_channels:
        _refuse(layer, f"takes {layer.in_channels} channels, is given {list(value.shape)}")


def _refuse(layer: nn.Module, problem: str) -> NoReturn:
    raise InputError(f"export cannot write this {type(layer).__name__}: it {problem}.")


_AFFINE: dict[type, Callable[[Graph, Value, Any, Any], Value]] = {
    nn.Linear: _linear,
    nn.ConvTranspose2d: _transposed,
    Upsample: _transposed,
    nn.Conv2d: _convolution,
}
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_OTHERS: dict[type, Callable[[Graph, Value, Any], Value]] = {
    nn.BatchNorm1d: _lone_norm,
    nn.BatchNorm2d: _lone_norm,
    nn.ReLU: lambda graph, value, _: graph.add("Relu", value),
    nn.LeakyReLU: lambda graph, value, layer: graph.add(
        "LeakyRelu", value, alpha=layer.negative_slope
    ),
    nn.Tanh: lambda graph, value, _: graph.add("Tanh", value),
    nn.Sigmoid: lambda graph, value, _: graph.add("Sigmoid", value),
    ConditionalBatchNorm2d: _conditional_norm,
    nn.GroupNorm: _layer_norm,
    MeanOverPixels: _mean_over_pixels,
    UpBlock: _residual,
    DownBlock: _residual,
    residual.Doubled: _doubled,
    nn.Unflatten: _unflatten,
    nn.Flatten: _flatten,
}
_NOTHING = (nn.Identity, nn.Dropout)

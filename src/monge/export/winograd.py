"""The transposed convolution of kernel 4, stride 2, padding 1 with fewer products.

In one dimension it is two filters of two taps each, interleaved:

    y[2p]     = x[p−1] w3 + x[p] w1
    y[2p + 1] = x[p] w2 + x[p+1] w0

and Winograd's F(m, 2) gives m outputs of a two-tap filter with m + 1 products in the place of 2m
(Winograd 1980, "Arithmetic complexity of computations"; Lavin & Gray 2016 for images). Both filters
look at one window of m + 2 values. In two dimensions, for m = 4: 100 products for 64 outputs, which
take 256 otherwise. As operators: windows, a small matrix B over both axes of each, one batched
matrix product over the channels, a small matrix A over both axes, interleaving.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from monge.export.graph import Array, Graph, Value, made

BATCH = 64
"""Images at a time that the plan is made for."""

_POINTS = {2: (0.0, -1.0), 4: (0.0, 1.0, -1.0, 2.0)}  # and infinity; F(3, 2) measured no better

# Two x86-64 cores of 2026: float32 products and sums a second, and bytes a second through memory.
# Predictions made with them stay within 1.5 times of what was measured: docs/lab-log.md.
_FLOPS, _BYTES = 110e9, 13e9
_WORTH = 1.1


def plan(channels: int, filters: int, height: int, width: int) -> int:
    """Choose m for a layer from `channels` maps of height × width to `filters`; 0: the plain form.

    By the time that arithmetic and memory should take for BATCH images. No tile is as large as the
    map: a matrix product of one row is computed in another order, and an image would depend on its
    batch.
    """
    plain_s = 32.0 * BATCH * height * width * channels * filters / _FLOPS
    times = {m: _seconds(m, channels, filters, height, width) for m in _POINTS}
    fitting = {m: s for m, s in times.items() if m < max(height, width)}
    if not fitting:
        return 0
    best = min(fitting, key=lambda m: fitting[m])
    return best if fitting[best] * _WORTH < plain_s else 0


def _seconds(m: int, channels: int, filters: int, height: int, width: int) -> float:
    tiles = BATCH * math.ceil(height / m) * math.ceil(width / m)
    window, products, outputs = m + 2, 2 * (m + 1), 2 * m
    flops = 2.0 * products**2 * tiles * channels * filters
    into = window**2 + products * window + products**2  # values a tile and channel, in each form
    out = products**2 + outputs * products + 2 * outputs**2
    values = 2 * tiles * (into * channels + out * filters) + products**2 * channels * filters
    return flops / _FLOPS + 4.0 * values / _BYTES


def append(graph: Graph, value: Value, kernel: Array, bias: Array, m: int) -> Value:
    """Append the layer of `kernel` [C, K, 4, 4] and `bias` [K] to a graph, from [n, C, H, W].

    The kernel is stored as it is and transformed by constant nodes, which a runtime folds when it
    opens the file: stored transformed it would be six times as large.
    """
    channels, filters = kernel.shape[:2]
    height, width = value.shape[1:]
    down, across = math.ceil(height / m), math.ceil(width / m)
    to_products, of_kernel, to_outputs = matrices(m)
    products, outputs = len(to_products), len(to_outputs)

    value = graph.channels_last(value)
    weight = _weight(graph, of_kernel, kernel)
    name = _windows(graph, value, m, down, across)
    name = _both_axes(graph, name, to_products, m + 2, [products**2, -1, channels])
    name = graph.reshape(graph.node("MatMul", name, weight), [products, -1])
    shape = [outputs, outputs, -1, down, across, filters]
    name = _both_axes(graph, name, to_outputs, products, shape)
    name = graph.node("Add", name, graph.weight("bias", bias))
    name = graph.node("Transpose", name, perm=[2, 3, 0, 4, 1, 5])
    name = graph.reshape(name, [-1, outputs * down, outputs * across, filters])
    if (outputs * down, outputs * across) != (2 * height, 2 * width):
        name = _slice(graph, name, [0, 0], [2 * height, 2 * width])
    return made(name, (filters, 2 * height, 2 * width), channels_last=True)


def _weight(graph: Graph, of_kernel: Array, kernel: Array) -> str:
    """The transformed kernel [products², C, K]."""
    channels, filters = kernel.shape[:2]
    name = graph.reshape(graph.kernel(kernel.transpose(2, 3, 0, 1), 3), [4, -1])
    return _both_axes(graph, name, of_kernel, 4, [len(of_kernel) ** 2, channels, filters])


def _windows(graph: Graph, value: Value, m: int, down: int, across: int) -> str:
    """[n, H, W, C] to [m + 2, (m + 2) · n · down · across · C]: value (i, j) of every window."""
    height, width = value.shape[1:]
    more = [m * down + 1 - height, m * across + 1 - width]
    padded = graph.node("Pad", value.name, graph.whole([0, 1, 1, 0, 0, *more, 0]))
    parts = []
    for i in range(m + 2):
        for j in range(m + 2):
            stop = [i + m * (down - 1) + 1, j + m * (across - 1) + 1]
            parts.append(graph.reshape(_slice(graph, padded, [i, j], stop, [m, m]), [1, -1]))
    return graph.reshape(graph.node("Concat", *parts, axis=0), [m + 2, -1])


def _slice(
    graph: Graph, name: str, start: list[int], stop: list[int], step: list[int] | None = None
) -> str:
    axes, steps = graph.whole([1, 2]), graph.whole(step or [1, 1])
    return graph.node("Slice", name, graph.whole(start), graph.whole(stop), axes, steps)


def _both_axes(graph: Graph, name: str, matrix: Array, size: int, shape: list[int]) -> str:
    """Multiply `matrix` [r, size] to both axes of [size, size · …]: [r, r, …], told as `shape`."""
    factor = graph.weight("transform", matrix)
    name = graph.reshape(graph.node("MatMul", factor, name), [len(matrix), size, -1])
    return graph.reshape(graph.node("MatMul", factor, name), shape)


def matrices(m: int) -> tuple[Array, Array, Array]:
    """B [2(m+1), m+2], G [2(m+1), 4] and A [2m, 2(m+1)]: y = A ((G w) · (B x)), elementwise.

    Of m + 2 values x in a row and the four taps w to 2m outputs. By evaluating the polynomials at
    `_POINTS` and infinity (Toom and Cook), transposed.
    """
    points, products = _POINTS[m], m + 1
    evaluate = np.zeros((products, products))
    evaluate[:-1] = np.vander(points, products, increasing=True)
    evaluate[-1, -1] = 1.0
    taps, outputs = np.zeros((products, 2)), np.zeros((m, products))
    taps[:-1], taps[-1, 1] = np.vander(points, 2, increasing=True), 1.0
    outputs[:, :-1], outputs[-1, -1] = np.vander(points, m, increasing=True).T, 1.0

    b, g, a = (
        np.zeros((2 * products, m + 2)),
        np.zeros((2 * products, 4)),
        np.zeros((2 * m, 2 * products)),
    )
    for phase, (first, second) in enumerate(((3, 1), (2, 0))):  # w3, w1 and w2, w0
        rows = slice(phase * products, (phase + 1) * products)
        b[rows, phase : phase + products] = np.linalg.inv(evaluate).T
        g[rows, first], g[rows, second] = taps[:, 0], taps[:, 1]
        a[phase::2, rows] = outputs
    return b, g, a


def fits(layer: Any) -> bool:
    """Tell whether a transposed convolution is of the one form that is known here."""
    return (
        tuple(layer.kernel_size) == (4, 4)
        and tuple(layer.stride) == (2, 2)
        and tuple(layer.padding) == (1, 1)
        and tuple(layer.dilation) == (1, 1)
        and tuple(layer.output_padding) == (0, 0)
    )

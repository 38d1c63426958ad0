"""Residual blocks for inference: the plain layers of both ways, whose sum is the block.

Nearest-neighbour upsampling and the 3x3 convolution after it are one transposed convolution of
kernel 4 and stride 2, which takes four ninths of the products, and in Winograd's form still fewer;
a 3x3 convolution and the mean of each 2x2 after it are one convolution of such a kernel. Training
computes both so, too (monge.nets.residual).
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from monge.nets.residual import DownBlock, UpBlock, halved_kernel, of_doubled_kernel

Layer = TypeVar("Layer", nn.Conv2d, nn.ConvTranspose2d)
Ways = tuple[list[nn.Module], list[nn.Module]]

_LEAST = 1e-3
"""The least share of the largest scale: below it an offset is too large for float32."""


class Doubled(nn.Module):
    """Each pixel four times: what is left of an upsampling that no 3x3 convolution follows."""


def ways(block: nn.Module, *, plain: bool) -> Ways:
    """The layers through a block and beside it; `plain` leaves an upsampling as it is."""
    if isinstance(block, UpBlock):
        return _up(block, plain)
    assert isinstance(block, DownBlock)
    return _down(block)


def _up(block: UpBlock, plain: bool) -> Ways:
    def after_doubling(layer: nn.Conv2d) -> list[nn.Module]:
        return [Doubled(), layer] if plain else [upsampled(layer)]

    first = block.order == "first"
    conv1 = after_doubling(block.conv1) if first else [block.conv1]
    conv2 = [block.conv2] if first else after_doubling(block.conv2)
    hidden = [block.norm1, nn.ReLU(), *conv1, block.norm2, nn.ReLU(), *conv2]
    return hidden, [block.shortcut, Doubled()]


def _down(block: DownBlock) -> Ways:
    begin = [block.norm1, nn.ReLU()] if block.activate else []
    conv2 = averaged(block.conv2) if block.halve else block.conv2
    hidden = [*begin, block.conv1, block.norm2, nn.ReLU(), conv2]
    return hidden, [averaged(block.shortcut) if block.halve else block.shortcut]


def upsampled(layer: nn.Conv2d) -> nn.ConvTranspose2d:
    """A 3x3 convolution of the doubled map as a transposed convolution of the map."""
    made = nn.ConvTranspose2d(layer.in_channels, layer.out_channels, 4, 2, 1, bias=_has_bias(layer))
    return _with(made, layer, of_doubled_kernel(layer.weight.detach().double()))


def averaged(layer: nn.Module) -> nn.Conv2d:
    """A 3x3 or 1x1 convolution and the mean of each 2x2 after it, as one convolution."""
    assert isinstance(layer, nn.Conv2d)
    kernel = layer.weight.detach().double()
    wide = layer.kernel_size == (3, 3)
    kernel = halved_kernel(kernel) if wide else kernel.expand(-1, -1, 2, 2) / 4.0
    size, padding, has_bias = kernel.shape[2], int(wide), _has_bias(layer)
    made = nn.Conv2d(layer.in_channels, layer.out_channels, size, 2, padding, bias=has_bias)
    return _with(made, layer, kernel)


def _with(made: Layer, layer: nn.Conv2d, kernel: Tensor) -> Layer:
    """Give a layer a kernel, in float64, and the bias of another."""
    made.double().weight.data.copy_(kernel)
    if layer.bias is not None and made.bias is not None:
        made.bias.data.copy_(layer.bias.detach().double())
    return made.eval()


def _has_bias(layer: nn.Conv2d) -> bool:
    return layer.bias is not None


def without_lone_norms(layers: list[nn.Module]) -> list[nn.Module]:
    """The same function with the batch norms that no convolution comes before taken into others.

    Of a norm s x + t and the ReLU after it, where every s is positive, relu(s x + t) is
    s relu(x + t / s): s goes into the convolution that follows, and t / s into the bias of what
    made x. The shortcut, which sees x too, takes it out again by its own bias. In float64.
    """
    if not any(isinstance(layer, UpBlock) for layer in layers):
        return layers
    layers = [copy.deepcopy(layer).double() for layer in layers]
    for i, layer in enumerate(layers):
        if isinstance(layer, UpBlock):
            _take_in(layer.norm1, layers[:i], layer.conv1, layer)
        elif isinstance(layer, nn.BatchNorm2d) and isinstance(layers[i - 1], UpBlock):
            following = layers[i + 2]
            assert isinstance(following, nn.Conv2d)
            if _take_in(layer, layers[:i], following, None):
                layers[i] = nn.Identity()
    return layers


@torch.no_grad()
def _take_in(
    norm: nn.Module, before: list[nn.Module], following: nn.Conv2d, block: UpBlock | None
) -> bool:
    """Take one norm into its neighbours; False where that cannot be."""
    maker = _bias_of(before)
    if not isinstance(norm, nn.BatchNorm2d) or norm.running_var is None or maker is None:
        return False
    assert norm.running_mean is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    if not bool((scale > _LEAST * scale.abs().max()).all()):
        return False
    offset = norm.bias / scale - norm.running_mean
    maker.add_(offset.repeat_interleave(len(maker) // len(offset)))
    following.weight.mul_(scale[:, None, None])
    if block is not None and block.shortcut.bias is not None:
        block.shortcut.bias.sub_(block.shortcut.weight[:, :, 0, 0] @ offset)
        block.norm1 = nn.Identity()
    return True


def _bias_of(before: list[nn.Module]) -> Tensor | None:
    """The bias of what made a map: of a block, or of a linear layer whose rows become maps."""
    if before and isinstance(before[-1], UpBlock):
        return before[-1].conv2.bias
    if len(before) >= 2 and isinstance(before[-1], nn.Unflatten):
        linear = before[-2]
        return linear.bias if isinstance(linear, nn.Linear) else None
    return None

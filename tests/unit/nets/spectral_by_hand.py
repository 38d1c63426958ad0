"""Spectral norm as a student writes it from Miyato et al. 2018, algorithm 1."""

import torch
import torch.nn.functional as F
from torch import nn

from monge.nets.labels import score


def normed_layers(network):
    """The layers whose weight is computed, in order."""
    return [layer for layer in network.modules() if hasattr(layer, "parametrizations")]


def power_step(kept, original):
    """Line by line: v from u, then u from v, each of length 1."""
    matrix = original.detach().reshape(len(original), -1)
    kept.v[:] = matrix.T @ kept.u
    kept.v[:] = kept.v / kept.v.pow(2).sum().sqrt()
    kept.u[:] = matrix @ kept.v
    kept.u[:] = kept.u / kept.u.pow(2).sum().sqrt()


class ByHand:
    """A critic of `mlp` or `dcgan` whose layers are computed from the raw weights, u and v."""

    def __init__(self, critic):
        self.critic = critic

    def parameters(self):
        return self.critic.parameters()

    def follow(self):
        for layer in normed_layers(self.critic):
            held = layer.parametrizations.weight
            power_step(held[0], held.original)

    def __call__(self, images, labels=None):
        for layer in self.critic.net:
            images = _normed(layer, images) if hasattr(layer, "parametrizations") else layer(images)
        return score(images, labels)


def _normed(layer, inputs):
    held = layer.parametrizations.weight
    raw, u, v = held.original, held[0].u, held[0].v
    sigma = torch.outer(u, v).mul(raw.reshape(len(u), len(v))).sum()
    if isinstance(layer, nn.Linear):
        return F.linear(inputs, raw / sigma, layer.bias)
    return F.conv2d(inputs, raw / sigma, layer.bias, layer.stride, layer.padding)

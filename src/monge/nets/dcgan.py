"""DCGAN (Radford et al. 2016) at any power of two from 8 to 128 pixels.

At 64 pixels and f features the generator is z -> 16f -> 8f -> 4f -> 2f -> C and the critic
C -> f -> 2f -> 4f -> 8f -> 1. Every other size drops or adds blocks at the narrow spatial end, so
that the layers next to the pixels stay the same. All kernels are 4; all strides 2, save where the
image is 1x1.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

CriticNorm = Literal["instance", "batch", "none"]


def _doublings(image_shape: tuple[int, int, int]) -> int:
    """How many stride-2 layers lie between a 4x4 map and the image."""
    _, height, width = image_shape
    if height != width or height not in (8, 16, 32, 64, 128):
        raise ValueError(f"dcgan draws squares of 8, 16, 32, 64 or 128 pixels, not {image_shape}")
    return height.bit_length() - 3


def _initialise(module: nn.Module) -> None:
    """Convolutions from N(0, 0.02), as in Radford et al. 2016, section 4."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Generator(nn.Module):
    """Latents [n, z] to images [n, C, H, W] in [-1, 1].

    `plain` is the ablation of Arjovsky et al. 2017, figure 6: no batch norm and the same number of
    filters (2f) in every layer.
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: tuple[int, int, int],
        features: int,
        *,
        plain: bool = False,
    ) -> None:
        super().__init__()
        doublings = _doublings(image_shape)
        widths = [2 * features * (1 if plain else 2**k) for k in reversed(range(doublings))]
        layers: list[nn.Module] = [nn.Unflatten(1, (latent_dim, 1, 1))]
        inputs, stride, padding = latent_dim, 1, 0
        for width in widths:
            layers.append(nn.ConvTranspose2d(inputs, width, 4, stride, padding, bias=plain))
            layers += [nn.ReLU()] if plain else [nn.BatchNorm2d(width), nn.ReLU()]
            inputs, stride, padding = width, 2, 1
        layers += [nn.ConvTranspose2d(inputs, image_shape[0], 4, 2, 1), nn.Tanh()]
        self.net = nn.Sequential(*layers)
        self.apply(_initialise)

    def forward(self, latents: Tensor) -> Tensor:
        images: Tensor = self.net(latents)
        return images


class Critic(nn.Module):
    """Images [n, C, H, W] to scores [n]: no norm on the first layer, no sigmoid at the end."""

    def __init__(
        self, image_shape: tuple[int, int, int], features: int, norm: CriticNorm = "instance"
    ) -> None:
        super().__init__()
        doublings = _doublings(image_shape)
        layers: list[nn.Module] = [nn.Conv2d(image_shape[0], features, 4, 2, 1), nn.LeakyReLU(0.2)]
        for k in range(1, doublings):
            inputs, width = features * 2 ** (k - 1), features * 2**k
            layers.append(nn.Conv2d(inputs, width, 4, 2, 1, bias=norm == "none"))
            layers += [*_norm(norm, width), nn.LeakyReLU(0.2)]
        layers += [nn.Conv2d(features * 2 ** (doublings - 1), 1, 4, 2, 0), nn.Flatten(0)]
        self.net = nn.Sequential(*layers)
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.net(images)
        return scores


def _norm(norm: CriticNorm, width: int) -> list[nn.Module]:
    if norm == "instance":
        return [nn.InstanceNorm2d(width, affine=True)]
    return [nn.BatchNorm2d(width)] if norm == "batch" else []
